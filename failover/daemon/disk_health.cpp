#include "failover/daemon/disk_health.h"

#include <algorithm>

#include <fmt/format.h>

namespace understudy {
namespace {

struct Judgement {
  Health health = Health::kHealthy;
  std::string text;
};

Judgement judge(const DiskReading& disk) {
  const DiskEvidence& evidence = disk.evidence;
  if (evidence.failing) return {Health::kFailed, fmt::format("disk {}: {}", disk.id, evidence.last_error)};
  const auto waits = [&](const char* what) {
    return fmt::format("disk {} {}: {} requests wait, nothing got further for {:.0f} ms, one is at the host for {:.0f} ms", disk.id, what,
                       evidence.outstanding, to_ms(evidence.since_progress), to_ms(evidence.longest_at_host));
  };
  if (evidence.since_progress >= kDiskStuckAfter || evidence.longest_at_host >= kRequestStuckAfter)
    return {Health::kFailed, waits("is stuck")};
  if (evidence.since_progress >= kDiskSlowAfter) return {Health::kDegraded, waits("is slow")};
  return {};
}

}  // namespace

ProbeReport judge_disks(std::span<const DiskReading> disks, Instant now) {
  ProbeReport report{.path = ProbePath::kGuestDisk, .health = Health::kHealthy, .started_at = now, .completed_at = now, .text = {}};
  for (const DiskReading& disk : disks) {
    auto [health, text] = judge(disk);
    if (health <= report.health) continue;
    report.health = health;
    report.text = std::move(text);
  }
  if (report.health == Health::kHealthy) report.text = "the guest's requests get on";
  return report;
}

Duration DiskLatency::take(std::span<const DiskReading> disks) {
  Duration slowest{};
  for (const DiskReading& disk : disks) {
    Before& before = before_[disk.id];
    const std::uint64_t done = disk.evidence.completed - before.completed;
    if (done > 0) slowest = std::max(slowest, (disk.evidence.time_at_host - before.time_at_host) / static_cast<std::int64_t>(done));
    before = {disk.evidence.completed, disk.evidence.time_at_host};
  }
  return slowest;
}

}  // namespace understudy
