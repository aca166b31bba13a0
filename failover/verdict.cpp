#include "failover/verdict.h"

namespace understudy {
namespace {

std::string describe(const PathEvidence& path, const char* condition) {
  std::string text = std::string{name_of(path.path)} + " " + condition;
  if (!path.text.empty()) text += ": " + path.text;
  return text;
}

bool too_old(const PathEvidence& path, const VerdictLimits& limits) {
  return needs_fresh_proof(path.path) && path.age > limits.max_age(path.path);
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

bool counts_as_failed(const PathEvidence& path, std::optional<std::span<const PathEvidence>> other, const VerdictLimits& limits) {
  if (path.health == Health::kFailed || too_old(path, limits)) return true;
  if (!path.suspected || !other) return false;
  for (const PathEvidence& theirs : *other) {
    if (theirs.path != path.path) continue;
    const bool well = theirs.health == Health::kHealthy && !theirs.suspected && !too_old(theirs, limits);
    return well && (!path.beyond || theirs.beyond);
  }
  return !path.beyond;
}

Verdict judge(const Observation& observation, const VerdictLimits& limits) {
  if (observation.since_sign_of_life > limits.silent_after)
    return {Condition::kSilent, std::nullopt, "silent for " + ms_text(observation.since_sign_of_life)};
  Verdict verdict;
  const auto name = [&verdict](Condition condition, const PathEvidence& path, const std::string& text) {
    if (!verdict.path) verdict = {condition, path.path, ""};
    verdict.text += (verdict.text.empty() ? "" : "; ") + text;
  };
  for (const PathEvidence& path : observation.evidence) {
    if (!counts_as_failed(path, observation.other, limits)) continue;
    name(Condition::kFailed, path,
         path.health == Health::kFailed || path.suspected
             ? describe(path, "failed")
             : std::string{name_of(path.path)} + " failed: its probe has not answered for " + ms_text(path.age));
  }
  if (verdict.path) return verdict;
  if (observation.since_progress && *observation.since_progress > limits.stalled_after)
    return {Condition::kStalled, std::nullopt, "alive, but no epoch committed for " + ms_text(*observation.since_progress)};
  for (const auto& paths : {observation.evidence, observation.seen})
    for (const PathEvidence& path : paths)
      if (path.health == Health::kDegraded) name(Condition::kDegraded, path, describe(path, path.suspected ? "suspected" : "degraded"));
  for (const PathEvidence& path : observation.evidence)
    if (path.health == Health::kUnknown) name(Condition::kDegraded, path, describe(path, "not proven yet"));
  return verdict;
}

}  // namespace understudy
