// A probe exercises one driver or stack end to end and returns evidence. This is the vocabulary: paths, health, and a report's form.
#pragma once

#include <cstdint>
#include <string>

#include "net/base/clock.h"

namespace understudy {

// What can fail below the guest while the host's core lives on. The values travel in heartbeats: append only.
enum class ProbePath : std::uint8_t {
  kServiceNic = 0,  // the interface that carries the guest's network traffic
  kStorage = 1,     // the file system or device that carries the guest's disk
  kGuestDisk = 2,   // the guest's own requests to its disks
  kMachine = 3,     // KVM itself: nobody probes it, it is failed when it gave up on the guest
};
inline constexpr std::size_t kProbePathCount = 4;
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
  }
  return "unknown path";
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
  Instant started_at;    // the exercise began; evidence "after the break" means that this lies after it
  Instant completed_at;  // it answered, or its deadline passed
  std::string text;      // for a person: "eth1: no carrier"
};

// A report as the other node sees it: Instants mean nothing between hosts, so it carries an age.
struct PathEvidence {
  ProbePath path = ProbePath::kServiceNic;
  Health health = Health::kUnknown;
  Duration age{};  // since the report completed
  std::string text;
};

}  // namespace understudy
