// Probes: their judgement, their records, and what is told of a process that hangs, dies or lies.
#include <condition_variable>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "failover/probe_nic.h"
#include "failover/probe_process.h"
#include "failover/probe_storage.h"
#include "failover/probe_wire.h"
#include "tests/support/bounds.h"

namespace understudy {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

TEST(NicProbe, Judgement) {
  const NicSnapshot good{.present = true, .up = true, .running = true, .tx_packets = 10, .tx_errors = 0};
  const auto with = [&](auto change) {
    NicSnapshot snapshot = good;
    change(snapshot);
    return snapshot;
  };
  struct Case {
    const char* name;
    NicSnapshot after;
    const char* send_error;
    Health health;
    const char* says;
  };
  const Case cases[] = {
      {"transmits", with([](auto& s) { s.tx_packets = 11; }), "", Health::kHealthy, "transmits"},
      {"gone", NicSnapshot{}, "", Health::kFailed, "no such interface"},
      {"down", with([](auto& s) { s.up = false; }), "", Health::kFailed, "is down"},
      {"no carrier", with([](auto& s) { s.running = false; }), "", Health::kFailed, "no carrier"},
      {"counter stands", good, "", Health::kFailed, "does not transmit"},
      {"counts errors", with([](auto& s) { s.tx_errors = 3; }), "", Health::kFailed, "counts errors"},
      {"send refused", good, "no buffer space", Health::kFailed, "no buffer space"},
      {"replaced meanwhile", with([](auto& s) { s.tx_packets = 1; }), "", Health::kHealthy, "transmits"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto report = judge_nic("svc0", good, c.after, c.send_error);
    EXPECT_EQ(report.health, c.health);
    EXPECT_THAT(report.text, HasSubstr("svc0"));
    EXPECT_THAT(report.text, HasSubstr(c.says));
  }
}

TEST(NicProbe, TheGuestsTapIsPartOfThePath) {
  const NicSnapshot good{.present = true, .up = true, .running = true, .tx_packets = 0, .tx_errors = 0};
  EXPECT_EQ(judge_tap("tap-guest", good).health, Health::kHealthy);
  const struct {
    NicSnapshot now;
    const char* says;
  } cases[] = {{{}, "tap-guest: no such interface"},
               {{.present = true, .up = false, .running = false}, "tap-guest: is down"},
               {{.present = true, .up = true, .running = false}, "tap-guest: the daemon does not hold it"}};
  for (const auto& c : cases) {
    EXPECT_EQ(judge_tap("tap-guest", c.now).health, Health::kFailed) << c.says;
    EXPECT_THAT(judge_tap("tap-guest", c.now).text, HasSubstr(c.says));
  }
}

TEST(NicProbe, TheReplicationNicIsNeverWorseThanDegraded) {
  const NicSnapshot good{.present = true, .up = true, .running = true, .tx_packets = 0, .tx_errors = 0};
  EXPECT_EQ(judge_replication_nic("rep0", good).health, Health::kHealthy);
  for (const NicSnapshot& bad : {NicSnapshot{}, NicSnapshot{.present = true}, NicSnapshot{.present = true, .up = true}}) {
    EXPECT_EQ(judge_replication_nic("rep0", bad).health, Health::kDegraded);
    EXPECT_FALSE(judge_replication_nic("rep0", bad).suspected);
  }
}

TEST(NicProbe, TheInterfaceTowardsAnAddressIsFound) {
  EXPECT_EQ(interface_towards("127.0.0.1").value_or("none"), "lo");
  EXPECT_THAT(interface_towards("a.name").error().text(), HasSubstr("is no address"));
}

TEST(NicProbe, AnInterfaceThatIsNotThereFails) {
  const auto report = NicProbe{"no-such-nic0"}.exercise();
  EXPECT_EQ(report.health, Health::kFailed);
  EXPECT_THAT(report.text, HasSubstr("no-such-nic0: no such interface"));
}

TEST(StorageProbe, ReadsBackWhatItWroteAndSaysWhenItCannot) {
  const auto directory = std::filesystem::temp_directory_path() / ("understudy-probe-test-" + std::to_string(::getpid()));
  std::filesystem::create_directories(directory);
  StorageProbe probe{directory / "canary"};
  const auto first = probe.exercise();
  EXPECT_EQ(first.health, Health::kHealthy) << first.text;
  EXPECT_THAT(probe.exercise().text, HasSubstr("canary 2"));
  std::filesystem::remove_all(directory);
  const auto gone = probe.exercise();
  EXPECT_EQ(gone.health, Health::kFailed);
  EXPECT_THAT(gone.text, HasSubstr("canary"));
}

TEST(StorageProbe, ImagesAloneAreReadWhereThereIsNoCanary) {
  const auto directory = std::filesystem::temp_directory_path() / ("understudy-probe-read-test-" + std::to_string(::getpid()));
  std::filesystem::create_directories(directory);
  std::ofstream{directory / "root.img"} << std::string(8192, 'x');
  StorageProbe probe{{}, {directory / "root.img"}};
  const auto report = probe.exercise();
  EXPECT_EQ(report.text, "images read");
  EXPECT_GT(report.latency, Duration{});
  std::filesystem::remove(directory / "root.img");
  EXPECT_TRUE(std::filesystem::is_empty(directory)) << "nothing was written";
  EXPECT_EQ(probe.exercise().health, Health::kFailed);
  std::filesystem::remove_all(directory);
}

TEST(StorageProbe, AnImageThatVanishedOrWasEmptiedFails) {
  const auto directory = std::filesystem::temp_directory_path() / ("understudy-probe-image-test-" + std::to_string(::getpid()));
  std::filesystem::create_directories(directory);
  const auto image = directory / "root.img";
  std::ofstream{image} << "x";
  std::filesystem::resize_file(image, 1 << 20);
  StorageProbe probe{image.string() + ".canary", {image}};
  for (unsigned i = 0; i < 3; ++i) EXPECT_EQ(probe.exercise().health, Health::kHealthy);
  std::filesystem::resize_file(image, 0);
  EXPECT_THAT(probe.exercise().text, HasSubstr("it is empty"));
  std::filesystem::remove(image);
  const auto gone = probe.exercise();
  EXPECT_EQ(gone.health, Health::kFailed);
  EXPECT_THAT(gone.text, HasSubstr("root.img: No such file"));
  std::filesystem::remove_all(directory);
}

TEST(ProbeRecord, SurvivesTheWireAndDamageIsRefused) {
  ProbeReport report{.path = ProbePath::kStorage,
                     .health = Health::kFailed,
                     .started_at = Instant{Duration{5}},
                     .completed_at = Instant{Duration{9}},
                     .text = std::string(1000, 'x')};
  const auto record = encode_probe(report);
  const auto decoded = decode_probe(record);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->path, ProbePath::kStorage);
  EXPECT_EQ(decoded->health, Health::kFailed);
  EXPECT_EQ(decoded->completed_at, Instant{Duration{9}});
  EXPECT_EQ(decoded->text, std::string(decoded->text.size(), 'x')) << "cut, not mangled";
  report.health = Health::kDegraded;
  report.suspected = report.beyond = true;
  report.latency = milliseconds{7};
  const auto suspicion = decode_probe(encode_probe(report));
  ASSERT_TRUE(suspicion);
  EXPECT_TRUE(suspicion->suspected && suspicion->beyond);
  EXPECT_EQ(suspicion->latency, milliseconds{7});
  report.health = Health::kHealthy;
  EXPECT_FALSE(decode_probe(encode_probe(report))) << "healthy, and suspected";
  for (const std::size_t at : {0u, 4u, 5u, 7u, 31u, 39u}) {
    auto damaged = record;
    damaged[at] = std::byte{0xEE};
    EXPECT_FALSE(decode_probe(damaged)) << "byte " << at;
  }
}

TEST(ProbeProcess, EndsWhenNobodyReads) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ::close(ends[0]);
  EXPECT_EQ(run_probe(ProbePath::kStorage, milliseconds{1}, ends[1], [] { return ProbeReport{}; }), 0);
  ::close(ends[1]);
}

// Collects reports from a probe process until one satisfies the test.
class ProbeProcessTest : public testing::Test {
 protected:
  Health silence = Health::kFailed;
  std::optional<ProbeReport> first_report(std::vector<std::string> command, std::function<bool(const ProbeReport&)> wanted) {
    const MonotonicClock clock;
    const auto thread = LoopThread::start(clock, "probe-test");
    if (!thread) return std::nullopt;
    std::unique_ptr<ProbeProcess> process;
    std::optional<ProbeReport> found;
    std::mutex mutex;
    std::condition_variable changed;
    (*thread)->loop().post_and_wait(
        [&] {
          auto started = ProbeProcess::start((*thread)->loop(),
                                             {.path = ProbePath::kStorage,
                                              .command = std::move(command),
                                              .deadline = milliseconds{100},
                                              .silence = silence,
                                              .restart_after = milliseconds{10}},
                                             [&](ProbeReport report) {
                                               const std::lock_guard lock{mutex};
                                               if (!found && wanted(report)) found = report;
                                               changed.notify_all();
                                             });
          if (started) process = std::move(*started);
        },
        kLong);
    {
      std::unique_lock lock{mutex};
      changed.wait_for(lock, kLong, [&] { return found.has_value(); });
    }
    (*thread)->loop().post_and_wait([&] { process.reset(); }, kLong);
    return found;
  }
};

TEST_F(ProbeProcessTest, OneThatHangsIsAFailure) {
  const auto report = first_report({"/bin/sleep", "60"}, [](const ProbeReport&) { return true; });
  ASSERT_TRUE(report);
  EXPECT_EQ(report->health, Health::kFailed);
  EXPECT_THAT(report->text, HasSubstr("no answer for"));
}

TEST_F(ProbeProcessTest, OneThatDiesIsAFailureAndIsStartedAgain) {
  const auto mark = std::filesystem::temp_directory_path() / ("understudy-probe-starts-" + std::to_string(::getpid()));
  const auto report = first_report({"/bin/sh", "-c", "echo x >> " + mark.string()}, [&](const ProbeReport&) {
    std::error_code ignored;
    return std::filesystem::file_size(mark, ignored) >= 6;  // three starts
  });
  std::filesystem::remove(mark);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->health, Health::kFailed);
}

TEST_F(ProbeProcessTest, TheSilenceOfOneThatDoesNotCarryTheGuestIsDegraded) {
  silence = Health::kDegraded;
  const auto report = first_report({"/bin/sleep", "60"}, [](const ProbeReport&) { return true; });
  ASSERT_TRUE(report);
  EXPECT_EQ(report->health, Health::kDegraded);
}

TEST_F(ProbeProcessTest, OneThatLiesIsAFailure) {
  const auto report = first_report({"/usr/bin/yes"}, [](const ProbeReport&) { return true; });
  ASSERT_TRUE(report);
  EXPECT_EQ(report->health, Health::kFailed);
}

}  // namespace
}  // namespace understudy
