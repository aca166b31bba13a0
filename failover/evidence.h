// What this host's probes find, on its way to the node: each probe's threshold and latency history, then one report a path. Pure.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>

#include "failover/latency_watch.h"
#include "failover/path_board.h"
#include "failover/probe.h"
#include "failover/probe_threshold.h"

namespace understudy {

class Evidence {
 public:
  // `tell` gets a path's report: each time for paths whose proof must be fresh; of the others when it changes, and now and then.
  using Tell = std::function<void(ProbeReport)>;
  explicit Evidence(FailSlowLimits limits = {}) : limits_{limits} {}
  void on_report(Tell tell) { tell_ = std::move(tell); }

  // From now on there is this probe of that path. `proves`: it exercises the path itself.
  void expect(const std::string& probe, ProbePath path, Hysteresis hysteresis, bool proves, Instant now);
  // What an exercise found. One with a latency is compared with its own history at this `load` (latency_watch.h): a path that is well but
  // slow is degraded, and then suspected.
  void take(const std::string& probe, ProbeReport found, Instant now, std::uint64_t load = 0);

  const std::vector<PathBoard::Entry>& entries() const { return board_.entries(); }

 private:
  static constexpr Duration kTellEvery = std::chrono::seconds{1};
  struct Probe {
    ProbeThreshold threshold;
    LatencyWatch latency;
  };
  struct Told {
    ProbeReport report;
    Instant at;
  };

  const FailSlowLimits limits_;
  Tell tell_;
  PathBoard board_;
  std::map<std::pair<std::string, ProbePath>, Probe> probes_;
  std::map<ProbePath, Told> told_;
};

}  // namespace understudy
