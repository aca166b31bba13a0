// From evidence and ages to a verdict that names the path that failed. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "failover/probe.h"
#include "net/base/clock.h"

namespace understudy {

enum class Condition : std::uint8_t {
  kHealthy,   // carries the guest
  kDegraded,  // carries it, with a path that is slow or unproven
  kFailed,    // alive, but a path that the guest needs has failed
  kStalled,   // alive, but commits no epochs
  kSilent,    // no sign of life
};
const char* name_of(Condition condition);

struct VerdictLimits {
  Duration silent_after{};      // no sign of life for so long: silent
  Duration stalled_after{};     // signs of life, but no committed epoch for so long: stalled
  Duration evidence_max_age{};  // a path's evidence older than this is a probe that no longer answers: failed
  Duration storage_max_age{};   // the same of storage, whose device may be busy with what the guest asked of it

  Duration max_age(ProbePath path) const { return path == ProbePath::kStorage ? storage_max_age : evidence_max_age; }
};

// What is known about one node, by another or by itself.
struct Observation {
  Duration since_sign_of_life{};             // 0 for oneself
  std::optional<Duration> since_progress{};  // since the last committed epoch; nullopt: none is due (not protected yet, guest stopped)
  std::span<const PathEvidence> evidence{};  // ages as of now
  // The other node's, where it is known and fresh: what a suspicion is compared with.
  std::optional<std::span<const PathEvidence>> other{};
  // What the observer finds of the observed from outside: never worse than degraded, since the way there may be at fault.
  std::span<const PathEvidence> seen{};
};

struct Verdict {
  Condition condition = Condition::kHealthy;
  std::optional<ProbePath> path;  // kFailed, kDegraded: which, the first of several
  std::string text;               // for a person, each path that is lost: "service NIC failed: eth1: no carrier; storage failed: EIO"
};

// Is this path failed? A suspicion is a failure where the other node finds the same path well, or does not look at it at all; and where it
// hangs on an answer from beyond the host, only if the other node gets one. `other`: nullopt when nothing is known of that node.
bool counts_as_failed(const PathEvidence& path, std::optional<std::span<const PathEvidence>> other, const VerdictLimits& limits);

// Worst first: silent, failed, stalled, degraded, healthy. A path without any report counts as nothing: it is not configured. A suspicion
// that does not count as failed is degraded.
Verdict judge(const Observation& observation, const VerdictLimits& limits);

}  // namespace understudy
