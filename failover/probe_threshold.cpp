#include "failover/probe_threshold.h"

#include <utility>

#include "net/base/check.h"

namespace understudy {

static_assert([] {
  for (std::size_t i = 0; i < std::size(kProbeTraits); ++i)
    if (static_cast<std::size_t>(kProbeTraits[i].kind) != i) return false;
  return true;
}());

std::size_t ProbeThreshold::rank_of(const ProbeReport& report) {
  if (report.health == Health::kFailed) return 3;
  if (report.health == Health::kDegraded) return report.suspected ? 2 : 1;
  return 0;
}

const ProbeReport& ProbeThreshold::take(ProbeReport found) {
  US_CHECK(found.health != Health::kUnknown);
  const std::size_t rank = rank_of(found);
  for (std::size_t r = 0; r < kRanks; ++r) {
    at_least_[r] = rank >= r ? at_least_[r] + 1 : 0;
    at_most_[r] = rank <= r ? at_most_[r] + 1 : 0;
  }
  latest_[rank] = std::move(found);
  // The worst that all of the latest findings reach, if that is worse than what is said (each loop ends at a rank that is among them).
  const std::size_t said = rank_of(said_);
  for (std::size_t r = kRanks - 1; r > said; --r)
    if (at_least_[r] >= hysteresis_.failures) return said_ = latest_[r];
  if (rank == said) return said_ = latest_[rank];
  if (rank > said) return said_;
  for (std::size_t r = 0; r < said; ++r)
    if (at_most_[r] >= hysteresis_.successes) return said_ = latest_[r];
  // Better, and not often enough yet: as bad as before, and looked at again.
  said_.started_at = latest_[rank].started_at;
  said_.completed_at = latest_[rank].completed_at;
  return said_;
}

}  // namespace understudy
