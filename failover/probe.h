// A probe exercises one driver or stack end to end and returns evidence. This is the vocabulary: paths, health, and a report's form.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "net/base/clock.h"

namespace understudy {

// What can fail below the guest while the host's core lives on. The values travel in heartbeats: append only.
enum class ProbePath : std::uint8_t {
  kServiceNic = 0,      // the interface that carries the guest's network traffic
  kStorage = 1,         // the file system or device that carries the guest's disk
  kGuestDisk = 2,       // the guest's own requests to its disks
  kMachine = 3,         // KVM itself: nobody probes it, it is failed when it gave up on the guest
  kReplicationNic = 4,  // the interface that the replication link uses: the guest does not need it, its protection does
  kReceive = 5,         // what arrives from the peer: messages that fail their checksum
  kKernel = 6,          // the host's kernel, as its log tells
  kScheduler = 7,       // whether this daemon's timers and loops run when they are due
  kMemory = 8,          // the host's memory: how long tasks wait for it
  kClock = 9,           // the host's real-time clock
  kVcpus = 10,          // the guest's vCPUs: whether their threads run when they could
  kVmm = 11,            // the monitor's own loops
  kUser = 12,           // what the operator's own probes exercise
};
inline constexpr std::size_t kProbePathCount = 13;
constexpr const char* name_of(ProbePath path) {
  switch (path) {
    case ProbePath::kServiceNic:
      return "service NIC";
    case ProbePath::kStorage:
      return "storage";
    case ProbePath::kGuestDisk:
      return "guest disk";
    case ProbePath::kMachine:
      return "KVM";
    case ProbePath::kReplicationNic:
      return "replication NIC";
    case ProbePath::kReceive:
      return "receive";
    case ProbePath::kKernel:
      return "kernel";
    case ProbePath::kScheduler:
      return "scheduler";
    case ProbePath::kMemory:
      return "memory";
    case ProbePath::kClock:
      return "clock";
    case ProbePath::kVcpus:
      return "vCPUs";
    case ProbePath::kVmm:
      return "VMM loop";
    case ProbePath::kUser:
      return "user-defined";
  }
  return "unknown path";
}
// As a configuration names it. nullopt: there is no such path.
constexpr std::optional<ProbePath> probe_path_of(std::string_view name) {
  for (std::size_t i = 0; i < kProbePathCount; ++i)
    if (name == name_of(static_cast<ProbePath>(i))) return static_cast<ProbePath>(i);
  return std::nullopt;
}

// Paths that carry the guest and are exercised all the time: their evidence must be fresh to count, and alone none goes on without having
// proven them since. The others are watched, and what is found of them counts until the opposite is found.
constexpr bool needs_fresh_proof(ProbePath path) {
  return path == ProbePath::kServiceNic || path == ProbePath::kStorage || path == ProbePath::kGuestDisk;
}

enum class Health : std::uint8_t {
  kUnknown = 0,   // no answer yet
  kHealthy = 1,   // exercised end to end, and right
  kDegraded = 2,  // works, but slower or with losses; no reason to move the guest
  kFailed = 3,    // does not carry the guest's traffic
};
constexpr const char* name_of(Health health) {
  switch (health) {
    case Health::kUnknown:
      return "unknown";
    case Health::kHealthy:
      return "healthy";
    case Health::kDegraded:
      return "degraded";
    case Health::kFailed:
      return "failed";
  }
  return "unknown";
}

// One completed exercise of a path on this host.
struct ProbeReport {
  ProbePath path = ProbePath::kServiceNic;
  Health health = Health::kUnknown;
  Instant started_at{};    // the exercise began; evidence "after the break" means that this lies after it
  Instant completed_at{};  // it answered, or its deadline passed
  std::string text{};      // for a person: "eth1: no carrier"
  // With kDegraded: the path is sick as far as this host can tell, and it can't tell whether the cause is its own. It counts as failed
  // where the other node, which shares what lies beyond, finds the same path well (verdict.h).
  bool suspected = false;
  // An answer from beyond this host is part of what was found: of a suspicion, that it stays away; of health, that it comes.
  bool beyond = false;
  Duration latency{};  // what the exercise waited for its path, apart from any time in which this host gave it no CPU; 0: not measured
};

// A report as the other node sees it: Instants mean nothing between hosts, so it carries an age.
struct PathEvidence {
  ProbePath path = ProbePath::kServiceNic;
  Health health = Health::kUnknown;
  Duration age{};  // since the report completed
  std::string text;
  bool suspected = false;  // as in ProbeReport
  bool beyond = false;
};

}  // namespace understudy
