// What a disk's evidence means for the verdict, from errors and hangs alike.
#include "failover/daemon/disk_health.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "failover/verdict.h"

namespace understudy {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

TEST(DiskHealth, TheWorstDiskIsNamed) {
  const DiskEvidence idle{.completed = 10};
  const DiskEvidence busy{.outstanding = 3, .oldest_age = milliseconds{900}, .since_progress = milliseconds{20}};
  const DiskEvidence slow{.outstanding = 3, .oldest_age = milliseconds{900}, .since_progress = milliseconds{900}};
  const DiskEvidence stuck{.outstanding = 1, .oldest_age = seconds{3}, .since_progress = seconds{3}};
  const DiskEvidence one_stuck{
      .outstanding = 9, .oldest_age = seconds{12}, .since_progress = milliseconds{1}, .longest_at_host = seconds{11}};
  const DiskEvidence backlog{.outstanding = 9000, .oldest_age = seconds{12}, .since_progress = milliseconds{1}};
  const DiskEvidence eio{.outstanding = 1, .errors = 4, .last_error = "read of 4096 bytes at 0: Input/output error (EIO)", .failing = true};
  const DiskEvidence enospc{
      .outstanding = 1, .errors = 1, .last_error = "write of 512 bytes at 0: No space left (ENOSPC)", .failing = true};
  const DiskEvidence recovered{.completed = 5, .errors = 4, .last_error = "read of 4096 bytes at 0: Input/output error (EIO)"};
  const struct {
    const char* name;
    std::vector<DiskReading> disks;
    Health health;
    const char* says;
  } cases[] = {
      {"idle", {{"root", idle}}, Health::kHealthy, "get on"},
      {"busy and getting on", {{"root", busy}}, Health::kHealthy, "get on"},
      {"a long queue that gets on", {{"root", backlog}}, Health::kHealthy, "get on"},
      {"recovered", {{"root", recovered}}, Health::kHealthy, "get on"},
      {"slow", {{"root", slow}}, Health::kDegraded, "disk root is slow: 3 requests wait"},
      {"stuck", {{"root", idle}, {"data", stuck}}, Health::kFailed, "disk data is stuck"},
      {"one request stuck among many", {{"root", one_stuck}}, Health::kFailed, "one is at the host for 11000 ms"},
      {"EIO", {{"root", slow}, {"data", eio}}, Health::kFailed, "disk data: read of 4096 bytes at 0: Input/output error"},
      {"ENOSPC", {{"root", enospc}}, Health::kFailed, "ENOSPC"},
  };
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    const Instant now{seconds{100}};
    const ProbeReport report = judge_disks(each.disks, now);
    EXPECT_EQ(report.path, ProbePath::kGuestDisk);
    EXPECT_EQ(report.health, each.health);
    EXPECT_EQ(report.started_at, now);
    EXPECT_THAT(report.text, HasSubstr(each.says));
    const PathEvidence evidence{report.path, report.health, Duration{}, report.text};
    const Verdict verdict = judge({.evidence = std::span{&evidence, 1}}, {seconds{1}, seconds{1}, seconds{1}});
    EXPECT_EQ(verdict.condition == Condition::kFailed, each.health == Health::kFailed);
    EXPECT_EQ(verdict.text.starts_with("guest disk failed: "), each.health == Health::kFailed);
  }
}

TEST(DiskLatency, IsTheSlowestDisksMeanSinceTheCallBefore) {
  DiskLatency latency;
  const auto reading = [](const char* id, std::uint64_t completed, int ms) {
    DiskReading disk{.id = id, .evidence = {}};
    disk.evidence.completed = completed;
    disk.evidence.time_at_host = std::chrono::milliseconds{ms};
    return disk;
  };
  const DiskReading first[] = {reading("root", 10, 20), reading("data", 0, 0)};
  EXPECT_EQ(latency.take(first), std::chrono::milliseconds{2});
  EXPECT_EQ(latency.take(first), Duration{}) << "nothing was done since";
  const DiskReading second[] = {reading("root", 11, 23), reading("data", 2, 100)};
  EXPECT_EQ(latency.take(second), std::chrono::milliseconds{50});
}

}  // namespace
}  // namespace understudy
