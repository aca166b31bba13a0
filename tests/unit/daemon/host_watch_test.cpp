// What the host and this process tell of themselves: memory, clock, threads, timers, loops, and what arrives damaged.
#include "failover/host_watch.h"

#include <pthread.h>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "failover/loop_watch.h"
#include "failover/thread_watch.h"

namespace understudy {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

constexpr Instant kWatchStart{seconds{1000}};

TEST(MemoryPressure, IsReadAndJudged) {
  constexpr const char* kSome = "some avg10=90.00 avg60=1.00 avg300=0.10 total=5\n";
  EXPECT_EQ(full_pressure(std::string{kSome} + "full avg10=12.34 avg60=0.00 avg300=0.00 total=0\n"), 12.34);
  EXPECT_EQ(full_pressure(kSome), std::nullopt);
  EXPECT_EQ(full_pressure("full avg10=nan "), std::nullopt);
  EXPECT_EQ(full_pressure("full avg10=101"), std::nullopt);
  EXPECT_EQ(full_pressure("notfull avg10=1"), std::nullopt);
  EXPECT_EQ(full_pressure(""), std::nullopt);
  EXPECT_EQ(judge_memory(19.9, 20).health, Health::kHealthy);
  const ProbeReport report = judge_memory(20, 20);
  EXPECT_EQ(report.health, Health::kDegraded);
  EXPECT_FALSE(report.suspected) << "no reason to move the guest";
  EXPECT_THAT(report.text, HasSubstr("20.0 % of the last 10 s"));
  EXPECT_EQ(judge_memory(std::nullopt, 20).health, Health::kHealthy);
}

TEST(ClockWatch, AJumpIsToldForAWhileAndSlewingIsNone) {
  ClockWatch watch;
  std::int64_t realtime = 1'700'000'000'000'000'000;
  Instant now = kWatchStart;
  const auto pass = [&](Duration monotonic, std::int64_t real_ns) {
    now += monotonic;
    realtime += real_ns;
    return watch.look(now, realtime);
  };
  pass({}, 0);
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(pass(milliseconds{500}, 500'250'000).health, Health::kHealthy) << "500 ppm";
  const ProbeReport jumped = pass(milliseconds{500}, -3'599'500'000'000);
  EXPECT_EQ(jumped.health, Health::kDegraded);
  EXPECT_EQ(jumped.text, "was set back by 3600.0 s");
  EXPECT_EQ(pass(seconds{59}, 59'000'000'000).health, Health::kDegraded);
  EXPECT_EQ(pass(seconds{2}, 2'000'000'000).health, Health::kHealthy);
}

TEST(ThreadWatch, LinesOfProcAreRead) {
  const auto reading = parse_thread(7, "7 (vcpu0 (x) y) D 1 2 3", "168628 1739065 2\n");
  ASSERT_TRUE(reading);
  EXPECT_EQ(reading->name, "vcpu0 (x) y");
  EXPECT_EQ(reading->state, 'D');
  EXPECT_EQ(reading->run_ns, 168628U);
  EXPECT_EQ(reading->wait_ns, 1739065U);
  EXPECT_FALSE(parse_thread(7, "", "1 2 3"));
  EXPECT_FALSE(parse_thread(7, "7 (vcpu0)", "1 2 3"));
  EXPECT_FALSE(parse_thread(7, "7 (vcpu0) R 1", ""));
}

TEST(ThreadWatch, ThisProcessIsReadable) {
  std::atomic<bool> done{false};
  std::jthread thread{[&] {
    ::pthread_setname_np(::pthread_self(), "vcpu-of-a-test");
    while (!done) std::this_thread::sleep_for(milliseconds{1});
  }};
  std::vector<ThreadReading> threads;
  for (int tries = 0; tries < 10'000 && threads.empty(); ++tries) threads = read_threads({"vcpu-of"});
  done = true;
  ASSERT_EQ(threads.size(), 1U);
  EXPECT_EQ(threads[0].name, "vcpu-of-a-test");
}

TEST(ThreadWatch, AVcpuThatIsStuckOrStarvedIsNamedAndOneThatSleepsIsNot) {
  const struct {
    const char* name;
    char state;
    std::uint64_t runs_each_ns;
    int ms;
    Health health;
    bool suspected;
    const char* says;
  } cases[] = {
      {"halted", 'S', 0, 60'000, Health::kHealthy, false, "get on"},
      {"running", 'R', 1000, 60'000, Health::kHealthy, false, "get on"},
      {"ready for a moment", 'R', 0, 900, Health::kHealthy, false, "get on"},
      {"starved", 'R', 0, 1500, Health::kDegraded, false, "vcpu1 gets no CPU for 1500 ms"},
      {"reading a disk", 'D', 1000, 60'000, Health::kHealthy, false, "get on"},
      {"in the kernel for a moment", 'D', 0, 1900, Health::kHealthy, false, "get on"},
      {"stuck", 'D', 0, 2500, Health::kDegraded, true, "vcpu1 is stuck in the kernel for 2500 ms"},
  };
  for (const auto& one : cases) {
    ThreadWatch watch{ProbePath::kVcpus, {}};
    ProbeReport report;
    std::uint64_t ran = 5;
    for (int ms = 0; ms <= one.ms; ms += 100) {
      report = watch.look({{1, "vcpu0", 'S', 3, 0}, {2, "vcpu1", one.state, ran, 0}}, "none", kWatchStart + milliseconds{ms});
      ran += one.runs_each_ns;
    }
    EXPECT_EQ(report.health, one.health) << one.name;
    EXPECT_EQ(report.suspected, one.suspected) << one.name;
    EXPECT_EQ(report.text, one.says) << one.name;
  }
  EXPECT_EQ((ThreadWatch{ProbePath::kVcpus, {}}.look({}, "no vCPU runs here", kWatchStart).text), "no vCPU runs here");
}

TEST(TimerWatch, LatenessIsToldForAWhile) {
  TimerWatch watch;
  watch.note(kWatchStart, kWatchStart + milliseconds{199});
  EXPECT_EQ(watch.look(kWatchStart + milliseconds{199}).health, Health::kHealthy);
  const Instant late = kWatchStart + seconds{1};
  watch.note(kWatchStart, late);
  watch.note(late, late + milliseconds{1});
  EXPECT_EQ(watch.look(late + seconds{1}).text, "timers are late by up to 1000 ms");
  EXPECT_EQ(watch.look(late + seconds{1}).health, Health::kDegraded);
  EXPECT_EQ(watch.look(late + seconds{3}).health, Health::kHealthy);
}

TEST(LoopWatch, OneThatDoesNotAnswer) {
  LoopWatch watch;
  EXPECT_TRUE(watch.ask(kWatchStart));
  EXPECT_FALSE(watch.ask(kWatchStart + milliseconds{900})) << "one question at a time";
  EXPECT_EQ(watch.look("session", kWatchStart + milliseconds{900}).health, Health::kHealthy);
  EXPECT_EQ(watch.look("session", kWatchStart + milliseconds{1200}).text, "the session loop has not answered for 1200 ms");
  watch.answered();
  EXPECT_EQ(watch.look("session", kWatchStart + milliseconds{1200}).health, Health::kHealthy);
  EXPECT_TRUE(watch.ask(kWatchStart + milliseconds{1300}));
}

TEST(ReceiveWatch, DamageIsCountedAndForgotten) {
  ReceiveWatch watch;
  EXPECT_EQ(watch.look(0, kWatchStart).health, Health::kHealthy);
  EXPECT_EQ(watch.look(2, kWatchStart + seconds{1}).text, "2 messages of the peer arrived damaged");
  EXPECT_EQ(watch.look(5, kWatchStart + seconds{30}).text, "5 messages of the peer arrived damaged");
  EXPECT_EQ(watch.look(5, kWatchStart + seconds{89}).health, Health::kDegraded);
  EXPECT_EQ(watch.look(5, kWatchStart + seconds{91}).health, Health::kHealthy);
  EXPECT_EQ(watch.look(6, kWatchStart + seconds{92}).text, "1 messages of the peer arrived damaged") << "since it was quiet";
}

TEST(RateMeter, CountsPerSecond) {
  RateMeter meter;
  meter.note(1000, kWatchStart);
  EXPECT_EQ(meter.per_second(), 0U);
  meter.note(1400, kWatchStart + milliseconds{100});
  EXPECT_EQ(meter.per_second(), 0U) << "too soon to tell";
  meter.note(1500, kWatchStart + milliseconds{500});
  EXPECT_EQ(meter.per_second(), 1000U);
  meter.note(0, kWatchStart + seconds{2});
  EXPECT_EQ(meter.per_second(), 0U) << "a counter that began anew";
}

}  // namespace
}  // namespace understudy
