// From several probes to one report a path, and what the node is told of it.
#include "failover/evidence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

Instant at(int ms) { return Instant{milliseconds{ms}}; }

ProbeReport report(ProbePath path, Health health, int started, int completed, std::string text = "") {
  return {path, health, at(started), at(completed), std::move(text)};
}

TEST(PathBoard, ThePathIsAsItsWorstProbeAndAsOldAsItsOldestProof) {
  PathBoard board;
  board.expect("state", ProbePath::kStorage, true, at(0));
  board.expect("disks", ProbePath::kStorage, true, at(0));
  board.put("state", report(ProbePath::kStorage, Health::kHealthy, 10, 11, "canary 1"));
  EXPECT_EQ(board.path(ProbePath::kStorage).health, Health::kUnknown) << "the other has said nothing yet";
  board.put("disks", report(ProbePath::kStorage, Health::kHealthy, 5, 6, "canary 2"));
  const ProbeReport well = board.path(ProbePath::kStorage);
  EXPECT_EQ(well.health, Health::kHealthy);
  EXPECT_EQ(well.started_at, at(5));
  EXPECT_EQ(well.completed_at, at(6));
  EXPECT_EQ(well.text, "canary 1; canary 2");
  board.put("state", report(ProbePath::kStorage, Health::kFailed, 20, 21, "EIO"));
  board.put("disks", report(ProbePath::kStorage, Health::kFailed, 22, 23, "other bytes"));
  EXPECT_EQ(board.path(ProbePath::kStorage).text, "EIO; other bytes") << "each is named";
}

TEST(PathBoard, AnEventIsNoProofAndDoesNotAgeThePath) {
  PathBoard board;
  board.expect("eth1", ProbePath::kServiceNic, true, at(0));
  board.put("eth1", report(ProbePath::kServiceNic, Health::kHealthy, 500, 501, "transmits"));
  board.put("/dev/kmsg", report(ProbePath::kServiceNic, Health::kDegraded, 100, 100, "the kernel says: reset"));
  const ProbeReport joined = board.path(ProbePath::kServiceNic);
  EXPECT_EQ(joined.health, Health::kDegraded);
  EXPECT_EQ(joined.started_at, at(500));
  EXPECT_EQ(joined.text, "the kernel says: reset");
}

TEST(PathBoard, ASuspicionHangsOnAnEchoOnlyIfAllOfItDoes) {
  PathBoard board;
  ProbeReport echo = report(ProbePath::kServiceNic, Health::kDegraded, 1, 1, "no answer");
  echo.suspected = echo.beyond = true;
  board.put("eth1", echo);
  EXPECT_TRUE(board.path(ProbePath::kServiceNic).beyond);
  ProbeReport command = report(ProbePath::kServiceNic, Health::kDegraded, 1, 1, "exit code 2");
  command.suspected = true;
  board.put("mine", command);
  EXPECT_TRUE(board.path(ProbePath::kServiceNic).suspected);
  EXPECT_FALSE(board.path(ProbePath::kServiceNic).beyond);
}

class EvidenceTest : public testing::Test {
 protected:
  EvidenceTest() {
    evidence.on_report([this](ProbeReport report) { told.push_back(std::move(report)); });
  }
  Evidence evidence;
  std::vector<ProbeReport> told;
};

TEST_F(EvidenceTest, FreshProofIsToldEachTimeAndTheRestWhenItChanges) {
  evidence.expect("eth1", ProbePath::kServiceNic, {1, 1}, true, at(0));
  evidence.expect("log", ProbePath::kKernel, {1, 1}, true, at(0));
  for (int i = 0; i < 5; ++i) {
    evidence.take("eth1", report(ProbePath::kServiceNic, Health::kHealthy, i, i), at(i));
    evidence.take("log", report(ProbePath::kKernel, Health::kHealthy, i, i), at(i));
  }
  EXPECT_EQ(told.size(), 6U);
  evidence.take("log", report(ProbePath::kKernel, Health::kDegraded, 6, 6), at(6));
  EXPECT_EQ(told.size(), 7U);
  evidence.take("log", report(ProbePath::kKernel, Health::kDegraded, 2000, 2000), at(2000));
  EXPECT_EQ(told.size(), 8U) << "and now and then";
}

TEST_F(EvidenceTest, ThresholdsComeFirst) {
  evidence.expect("eth1", ProbePath::kServiceNic, {2, 2}, true, at(0));
  evidence.take("eth1", report(ProbePath::kServiceNic, Health::kHealthy, 1, 1), at(1));
  evidence.take("eth1", report(ProbePath::kServiceNic, Health::kFailed, 2, 2), at(2));
  EXPECT_EQ(told.back().health, Health::kHealthy);
  EXPECT_EQ(told.back().started_at, at(1));
  evidence.take("eth1", report(ProbePath::kServiceNic, Health::kFailed, 3, 3), at(3));
  EXPECT_EQ(told.back().health, Health::kFailed);
}

TEST_F(EvidenceTest, APathThatIsWellButSlowIsDegradedThenSuspected) {
  evidence.expect("state", ProbePath::kStorage, {1, 1}, true, at(0));
  int now = 0;
  const auto exercise = [&](int latency_ms) {
    ProbeReport one = report(ProbePath::kStorage, Health::kHealthy, now, now + latency_ms, "canary");
    one.latency = milliseconds{latency_ms};
    now += latency_ms + 150;
    evidence.take("state", one, at(now));
  };
  for (int i = 0; i < 200; ++i) exercise(2);
  EXPECT_EQ(told.back().health, Health::kHealthy);
  std::optional<int> degraded, suspected;
  const int struck = now;
  while (now < struck + 10'000) {
    exercise(200);
    if (told.back().health == Health::kDegraded && !degraded) degraded = now - struck;
    if (told.back().suspected && !suspected) suspected = now - struck;
  }
  ASSERT_TRUE(degraded && suspected);
  EXPECT_LT(*degraded, *suspected);
  EXPECT_LT(*suspected, 8500);
  EXPECT_THAT(told.back().text, HasSubstr("takes 200 ms, where at most 2 ms was usual"));
  EXPECT_FALSE(told.back().beyond);
}

}  // namespace
}  // namespace understudy
