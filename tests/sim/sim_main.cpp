// sim --seed N --verbose replays one run; sim --from N --count M explores, and prints the seed of each failure.
#include <cstdio>
#include <string>

#include <CLI/CLI.hpp>

#include "tests/sim/pair.h"

int main(int argc, char** argv) {
  using namespace understudy::sim;
  Options options;
  std::uint64_t from = 1;
  std::uint64_t count = 0;
  std::string scenario = "chaos";
  int bug = 0;
  CLI::App app{"Seeded simulation of a pair: real decision logic, faulty world."};
  app.add_option("--seed", options.seed, "Run this one");
  app.add_option("--from", from, "First seed to explore");
  app.add_option("--count", count, "How many seeds to explore");
  app.add_option("--scenario", scenario, "chaos, nocrash or single")->check(CLI::IsMember({"chaos", "nocrash", "single"}));
  app.add_option("--bug", bug, "Plant this bug (number in options.h)")->check(CLI::Range(0, static_cast<int>(Bug::kLast)));
  app.add_flag("--real", options.real_sessions, "With the real sessions and gate, on fake machines (slower)");
  app.add_flag("--recorded", options.recorded, "With flight recorders whose record is replayed at once");
  app.add_flag("--verbose", options.verbose, "Print everything that happens");
  CLI11_PARSE(app, argc, argv);
  options.scenario = scenario == "single" ? Scenario::kSingleFault : scenario == "nocrash" ? Scenario::kNoCrash : Scenario::kChaos;
  options.bug = static_cast<Bug>(bug);
  if (count == 0) from = options.seed, count = 1;
  std::uint64_t failed = 0;
  std::uint64_t lost = 0;
  std::uint64_t takeovers = 0;
  std::uint64_t terms = 0;
  std::uint64_t delivered = 0;
  for (options.seed = from; options.seed < from + count; ++options.seed) {
    const Outcome outcome = run(options);
    lost += outcome.lost_by_design ? 1 : 0;
    takeovers += outcome.takeovers;
    terms += outcome.terms;
    delivered += outcome.delivered;
    if (outcome.ok) continue;
    ++failed;
    std::printf("seed %llu: %s: %s\n", static_cast<unsigned long long>(options.seed), outcome.rule.c_str(), outcome.what.c_str());
  }
  std::printf("%llu runs, %llu failed, %llu without a survivor, %llu terms, %llu takeovers, %llu outputs delivered\n",
              static_cast<unsigned long long>(count), static_cast<unsigned long long>(failed), static_cast<unsigned long long>(lost),
              static_cast<unsigned long long>(terms), static_cast<unsigned long long>(takeovers),
              static_cast<unsigned long long>(delivered));
  return failed == 0 ? 0 : 1;
}
