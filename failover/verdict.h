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
};

// What is known about one node, by another or by itself.
struct Observation {
  Duration since_sign_of_life{};             // 0 for oneself
  std::optional<Duration> since_progress{};  // since the last committed epoch; nullopt: none is due (not protected yet, guest stopped)
  std::span<const PathEvidence> evidence{};  // ages as of now
};

struct Verdict {
  Condition condition = Condition::kHealthy;
  std::optional<ProbePath> path;  // kFailed, kDegraded: which
  std::string text;               // one clause for a person: "service NIC failed: eth1: no carrier"
};

// Worst first: silent, failed, stalled, degraded, healthy. A path without any report counts as nothing: it is not configured.
Verdict judge(const Observation& observation, const VerdictLimits& limits);

}  // namespace understudy
