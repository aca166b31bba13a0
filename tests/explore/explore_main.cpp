// explore --scenario NAME explores; --replay TRACE tells a trace; --list names the scenarios with their bounds.
#include <chrono>
#include <cstdio>
#include <string>

#include <CLI/CLI.hpp>

#include "tests/explore/explorer.h"

namespace {

using namespace understudy::explore;

constexpr const char* kCostNames[kCosts] = {"faults", "loss",        "delay",         "repeat",        "cut",
                                            "crash",  "stop",        "arbiter-crash", "store-failure", "path-failure",
                                            "break",  "full-resync", "command",       "output",        "capture"};

std::string describe(const Scenario& scenario) {
  std::string text = scenario.name + ": " + scenario.what + "\n  bounds: ticks " + std::to_string(scenario.bounds.horizon);
  for (std::size_t i = 0; i < kCosts; ++i)
    if (scenario.bounds.budget[i] != 0) text += std::string{", "} + kCostNames[i] + " " + std::to_string(scenario.bounds.budget[i]);
  return text;
}

bool run(const Scenario& scenario, Plant plant, std::uint64_t limit, bool check_merges, std::uint64_t& states) {
  std::printf("%s\n", describe(scenario).c_str());
  std::fflush(stdout);
  const auto began = std::chrono::steady_clock::now();
  const Findings found = explore(scenario, plant, limit, check_merges);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  states += found.states;
  std::printf(
      "  %llu states, %llu transitions, deepest %llu choices, %s; %llu nodes, %llu node steps; %.1f s, %.0f states/s; violations %d\n",
      static_cast<unsigned long long>(found.states), static_cast<unsigned long long>(found.transitions),
      static_cast<unsigned long long>(found.depth),
      found.complete         ? "complete"
      : found.broken.empty() ? "limit reached"
                             : "stopped",
      static_cast<unsigned long long>(found.nodes), static_cast<unsigned long long>(found.node_steps), seconds,
      static_cast<double>(found.states) / seconds, found.broken.empty() ? 0 : 1);
  if (check_merges)
    std::printf("  %llu merged nodes checked, %llu of them wrongly merged\n", static_cast<unsigned long long>(found.checked_merges),
                static_cast<unsigned long long>(found.false_merges));
  std::fflush(stdout);
  if (found.broken.empty()) return found.false_merges == 0;
  for (const std::string& line : replay(scenario, plant, found.trace).lines) std::printf("    %s\n", line.c_str());
  std::printf("  again: explore --scenario %s --plant %s --replay %s\n", scenario.name.c_str(), name_of(plant),
              to_text(found.trace).c_str());
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  std::string scenario_name = "all";
  std::string plant_name = name_of(Plant::kNothing);
  std::string trace_text;
  std::uint64_t limit = 50'000'000;
  bool check_merges = false;
  bool list = false;
  int horizon = -1;
  int faults = -1;
  CLI::App app{"Exhaustive exploration of a pair: real decision logic and arbiter's rules, all that can happen within bounds."};
  app.add_option("--scenario", scenario_name, "Which; all of them without");
  app.add_option("--states", limit, "Stops a scenario at so many states");
  app.add_option("--ticks", horizon, "Another horizon than the scenario's")->check(CLI::Range(0, 100));
  app.add_option("--faults", faults, "Another bound on all faults together")->check(CLI::Range(0, 20));
  app.add_option("--plant", plant_name, "Breaks this rule on purpose (names in model.h)");
  app.add_option("--replay", trace_text, "Tells this trace of --scenario, step by step");
  app.add_flag("--check-merges", check_merges, "Steps all nodes that are held to be the same, and compares");
  app.add_flag("--list", list, "Names the scenarios and their bounds");
  CLI11_PARSE(app, argc, argv);

  std::optional<Plant> plant;
  for (int i = 0; i <= static_cast<int>(Plant::kLast); ++i)
    if (plant_name == name_of(static_cast<Plant>(i))) plant = static_cast<Plant>(i);
  if (!plant) return std::fprintf(stderr, "explore: no bug '%s': see Plant in model.h\n", plant_name.c_str()), 2;
  std::vector<Scenario> chosen;
  for (const Scenario& scenario : scenarios())
    if (scenario_name == "all" || scenario_name == scenario.name) chosen.push_back(scenario);
  if (chosen.empty()) return std::fprintf(stderr, "explore: no scenario '%s': see --list\n", scenario_name.c_str()), 2;
  for (Scenario& scenario : chosen) {
    if (horizon >= 0) scenario.bounds.horizon = static_cast<std::uint8_t>(horizon);
    if (faults >= 0) scenario.bounds.budget[static_cast<std::size_t>(Cost::kFault)] = static_cast<std::uint8_t>(faults);
  }
  if (list) {
    for (const Scenario& scenario : chosen) std::printf("%s\n", describe(scenario).c_str());
    return 0;
  }
  if (!trace_text.empty()) {
    const auto trace = parse_trace(trace_text);
    if (!trace || chosen.size() != 1)
      return std::fprintf(stderr, "explore: --replay takes kind.a.b,kind.a.b,... as printed, and one --scenario\n"), 2;
    const Replay told = replay(chosen[0], *plant, *trace);
    for (const std::string& line : told.lines) std::printf("%s\n", line.c_str());
    return told.possible && told.broken.empty() ? 0 : 1;
  }
  bool ok = true;
  std::uint64_t states = 0;
  for (const Scenario& scenario : chosen) ok &= run(scenario, *plant, limit, check_merges, states);
  std::printf("%llu states in %zu scenarios, %s\n", static_cast<unsigned long long>(states), chosen.size(),
              ok ? "no violation" : "VIOLATED");
  return ok ? 0 : 1;
}
