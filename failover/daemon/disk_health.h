// What the guest's own requests tell of this host's disks: evidence without an exercise, for what hangs or fails under the guest alone.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "failover/probe.h"
#include "net/base/clock.h"
#include "replication/disk_image.h"

namespace understudy {

struct DiskReading {
  std::string id;  // as configured
  DiskEvidence evidence;
};

// A disk that got nothing further for so long while requests wait is slow, or stuck. A flush of a large page cache takes its time, too.
inline constexpr Duration kDiskSlowAfter = std::chrono::milliseconds{600};
inline constexpr Duration kDiskStuckAfter = std::chrono::seconds{2};
// One request that the host does not give back while others pass.
inline constexpr Duration kRequestStuckAfter = std::chrono::seconds{10};

// The worst of them, named. Pure.
ProbeReport judge_disks(std::span<const DiskReading> disks, Instant now);

// What one request took at the host, from what the disks say of all together.
class DiskLatency {
 public:
  // Of those completed since the call before, the mean; of the slowest disk. Zero: none was.
  Duration take(std::span<const DiskReading> disks);

 private:
  struct Before {
    std::uint64_t completed = 0;
    Duration time_at_host{};
  };
  std::map<std::string, Before> before_;
};

}  // namespace understudy
