// sim --seed N --verbose replays one run; sim --from N --count M explores, and prints the seed of each failure.
#include <algorithm>
#include <cstdio>
#include <string>

#include <CLI/CLI.hpp>

#include "tests/sim/exploration.h"

namespace understudy::sim {
namespace {

void print(const Options& options, const Totals& totals) {
  const auto number = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf("%llu runs, %llu failed, %llu without a survivor, %llu terms, %llu takeovers, %llu outputs delivered\n", number(totals.runs),
              number(totals.failed), number(totals.without_survivor), number(totals.terms), number(totals.takeovers),
              number(totals.delivered));
  if (options.scenario != Scenario::kEndurance) return;
  const double down_ms = to_ms(totals.downtime);
  const double lived_ms = std::max(to_ms(totals.lived), 1.0);
  std::printf("%llu faults in %.1f simulated hours; clients noticed %llu of them; mean time to recover %.0f ms; availability %.3f %%\n",
              number(totals.faults), lived_ms / 3.6e6, number(totals.interruptions),
              totals.interruptions == 0 ? 0.0 : down_ms / static_cast<double>(totals.interruptions), 100.0 * (1.0 - down_ms / lived_ms));
}

}  // namespace
}  // namespace understudy::sim

int main(int argc, char** argv) {
  using namespace understudy::sim;
  Options options;
  std::uint64_t from = 1;
  std::uint64_t count = 0;
  std::string scenario = "chaos";
  int bug = 0;
  unsigned jobs = 1;
  CLI::App app{"Seeded simulation of a pair: real decision logic, faulty world."};
  app.add_option("--seed", options.seed, "Run this one");
  app.add_option("--from", from, "First seed to explore");
  app.add_option("--count", count, "How many seeds to explore");
  app.add_option("--scenario", scenario, "chaos, nocrash, single, manual or endurance")
      ->check(CLI::IsMember({"chaos", "nocrash", "single", "manual", "endurance"}));
  app.add_option("--jobs", jobs, "So many at once")->check(CLI::Range(1, 256));
  app.add_option("--faults", options.faults, "Of endurance: so many a pair");
  app.add_option("--bug", bug, "Plant this bug (number in options.h)")->check(CLI::Range(0, static_cast<int>(Bug::kLast)));
  app.add_flag("--real", options.real_sessions, "With the real sessions and gate, on fake machines (slower)");
  app.add_flag("--recorded", options.recorded, "With flight recorders whose record is replayed at once");
  app.add_flag("--verbose", options.verbose, "Print everything that happens");
  CLI11_PARSE(app, argc, argv);
  for (const Scenario one : {Scenario::kChaos, Scenario::kNoCrash, Scenario::kSingleFault, Scenario::kManual, Scenario::kEndurance})
    if (scenario == name_of(one)) options.scenario = one;
  options.bug = static_cast<Bug>(bug);
  if (count == 0) from = options.seed, count = 1;
  const Totals totals = explore(options, from, count, options.verbose ? 1 : jobs, [](const Options& own, const Outcome& outcome) {
    std::printf("seed %llu: %s: %s\n", static_cast<unsigned long long>(own.seed), outcome.rule.c_str(), outcome.what.c_str());
  });
  print(options, totals);
  return totals.failed == 0 ? 0 : 1;
}
