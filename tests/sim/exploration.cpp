#include "tests/sim/exploration.h"

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

namespace understudy::sim {

Totals explore(const Options& options, std::uint64_t from, std::uint64_t count, unsigned jobs,
               const std::function<void(const Options&, const Outcome&)>& failed) {
  Totals totals;
  std::mutex mutex;
  std::atomic<std::uint64_t> next{from};
  const auto work = [&] {
    Options own = options;
    for (own.seed = next++; own.seed < from + count; own.seed = next++) {
      const Outcome outcome = run(own);
      const std::lock_guard lock{mutex};
      ++totals.runs;
      totals.without_survivor += outcome.lost_by_design ? 1 : 0;
      totals.takeovers += outcome.takeovers;
      totals.terms += outcome.terms;
      totals.delivered += outcome.delivered;
      totals.faults += outcome.faults;
      totals.interruptions += outcome.interruptions;
      totals.downtime += outcome.downtime;
      totals.lived += outcome.lived;
      if (outcome.ok) continue;
      ++totals.failed;
      failed(own, outcome);
    }
  };
  std::vector<std::jthread> workers;
  for (unsigned i = 0; i < jobs; ++i) workers.emplace_back(work);
  workers.clear();
  return totals;
}

}  // namespace understudy::sim
