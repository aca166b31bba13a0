// The echo from beyond the NIC: when its absence says something, and what is found of a default gateway.
#include "failover/echo_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "failover/probe_echo.h"

namespace understudy {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

class Echo : public testing::Test {
 protected:
  // Exercises every 50 ms; `answers` says whether a request made now is answered, 2 ms later.
  template <class Answers>
  void run(EchoWatch& watch, int ms, Answers answers) {
    for (int done = 0; done < ms; done += 50) {
      now += milliseconds{50};
      if (!watch.due(now)) continue;
      watch.note_sent(now);
      if (answers()) watch.note_reply(now + milliseconds{2});
      lost |= judge(watch).suspected;
    }
  }
  ProbeReport judge(const EchoWatch& watch) const {
    ProbeReport report{.path = ProbePath::kServiceNic, .health = Health::kHealthy, .text = "eth1: transmits"};
    watch.judge(report, "10.0.0.1", now);
    return report;
  }
  Instant now{std::chrono::seconds{50}};
  bool lost = false;
};

TEST_F(Echo, FramesThatVanishAreFoundWithinTwoSeconds) {
  EchoWatch watch{{}, true};
  run(watch, 5000, [] { return true; });
  ProbeReport report = judge(watch);
  EXPECT_EQ(report.health, Health::kHealthy);
  EXPECT_TRUE(report.beyond);
  EXPECT_EQ(report.latency, milliseconds{2});
  EXPECT_EQ(report.text, "eth1: transmits, and 10.0.0.1 answers");
  run(watch, 900, [] { return false; });
  EXPECT_FALSE(lost) << "not yet";
  run(watch, 600, [] { return false; });
  report = judge(watch);
  EXPECT_EQ(report.health, Health::kDegraded);
  EXPECT_TRUE(report.suspected && report.beyond);
  EXPECT_THAT(report.text, HasSubstr("no answer from 10.0.0.1 for 1"));
  run(watch, 200, [] { return true; });
  EXPECT_EQ(judge(watch).health, Health::kHealthy);
}

TEST_F(Echo, LossesAndSpikesAreNoLoss) {
  EchoWatch watch{{}, true};
  unsigned n = 0;
  run(watch, 3'600'000, [&n] { return ++n % 50 != 0; });  // 2 %
  EXPECT_FALSE(lost);
  run(watch, 3'600'000, [&n] { return ++n % 10 < 6; });  // half a second without an answer, again and again
  EXPECT_FALSE(lost);
}

TEST_F(Echo, ATargetThatWasOnlyLearntAndNeverAnsweredSaysNothing) {
  EchoWatch learnt{{}, false};
  run(learnt, 10'000, [] { return false; });
  EXPECT_FALSE(lost);
  EXPECT_FALSE(judge(learnt).beyond);
  EchoWatch configured{{}, true};
  run(configured, 10'000, [] { return false; });
  EXPECT_TRUE(lost);
}

TEST_F(Echo, AQuestionThatWaitsIsNotQuick) {
  EchoWatch watch{{}, true};
  run(watch, 1000, [] { return true; });
  run(watch, 400, [] { return false; });
  EXPECT_GE(judge(watch).latency, milliseconds{250}) << "slow, and not lost yet";
}

TEST(Gateway, OfARouteTable) {
  constexpr const char* kTable =
      "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
      "eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
      "br-svc\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
      "br-svc\t00000000\tFE4D000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
  EXPECT_EQ(gateway_in(kTable, {"svc0", "br-svc"})->text(), "10.0.77.254");
  EXPECT_EQ(gateway_in(kTable, {"svc0"}), std::nullopt);
  EXPECT_EQ(gateway_in("eth0\t00000000\tnonsense\n", {"eth0"}), std::nullopt);
  EXPECT_EQ(gateway_in("", {"eth0"}), std::nullopt);
}

}  // namespace
}  // namespace understudy
