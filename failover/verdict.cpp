#include "failover/verdict.h"

#include <cmath>

namespace understudy {
namespace {

std::string in_ms(Duration duration) { return std::to_string(std::llround(to_ms(duration))) + " ms"; }

std::string describe(const PathEvidence& path, const char* condition) {
  std::string text = std::string{name_of(path.path)} + " " + condition;
  if (!path.text.empty()) text += ": " + path.text;
  return text;
}

}  // namespace

const char* name_of(Condition condition) {
  switch (condition) {
    case Condition::kHealthy:
      return "healthy";
    case Condition::kDegraded:
      return "degraded";
    case Condition::kFailed:
      return "failed";
    case Condition::kStalled:
      return "stalled";
    case Condition::kSilent:
      return "silent";
  }
  return "unknown";
}

Verdict judge(const Observation& observation, const VerdictLimits& limits) {
  if (observation.since_sign_of_life > limits.silent_after)
    return {Condition::kSilent, std::nullopt, "silent for " + in_ms(observation.since_sign_of_life)};
  for (const PathEvidence& path : observation.evidence)
    if (path.health == Health::kFailed) return {Condition::kFailed, path.path, describe(path, "failed")};
  for (const PathEvidence& path : observation.evidence)
    if (path.age > limits.evidence_max_age)
      return {Condition::kFailed, path.path,
              std::string{name_of(path.path)} + " failed: its probe has not answered for " + in_ms(path.age)};
  if (observation.since_progress && *observation.since_progress > limits.stalled_after)
    return {Condition::kStalled, std::nullopt, "alive, but no epoch committed for " + in_ms(*observation.since_progress)};
  for (const PathEvidence& path : observation.evidence)
    if (path.health == Health::kDegraded) return {Condition::kDegraded, path.path, describe(path, "degraded")};
  for (const PathEvidence& path : observation.evidence)
    if (path.health == Health::kUnknown) return {Condition::kDegraded, path.path, describe(path, "not proven yet")};
  return {};
}

}  // namespace understudy
