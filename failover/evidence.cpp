#include "failover/evidence.h"

namespace understudy {

void Evidence::expect(const std::string& probe, ProbePath path, Hysteresis hysteresis, bool proves, Instant now) {
  probes_.try_emplace({probe, path}, Probe{ProbeThreshold{hysteresis}, LatencyWatch{limits_}});
  board_.expect(probe, path, proves, now);
}

void Evidence::take(const std::string& probe, ProbeReport found, Instant now, std::uint64_t load) {
  const ProbePath path = found.path;
  Probe& one = probes_.try_emplace({probe, path}, Probe{ProbeThreshold{Hysteresis{}}, LatencyWatch{limits_}}).first->second;
  if (found.latency > Duration{}) one.latency.add(now, found.latency, load);
  ProbeReport said = one.threshold.take(std::move(found));
  if (said.health == Health::kHealthy && one.latency.slow()) {
    said.health = Health::kDegraded;
    // The guest's own requests are as the guest makes them, so what they take is told and no more; the canary beside them is always the
    // same.
    said.suspected = path != ProbePath::kGuestDisk && one.latency.suspected(now);
    said.beyond = false;  // the other node need only be quick
    said.text = one.latency.text();
  }
  board_.put(probe, std::move(said));

  ProbeReport joined = board_.path(path);
  const auto told = told_.find(path);
  const bool news = told == told_.end() || told->second.report.health != joined.health ||
                    told->second.report.suspected != joined.suspected || now - told->second.at >= kTellEvery;
  if (!news && !needs_fresh_proof(path)) return;
  told_[path] = {joined, now};
  if (tell_ && joined.health != Health::kUnknown) tell_(std::move(joined));
}

}  // namespace understudy
