// Breadth first through all that can happen within a scenario's bounds: every world once, the judge in each step, and of the first broken
// rule the shortest way there.
#pragma once

#include <string>
#include <vector>

#include "tests/explore/model.h"

namespace understudy::explore {

// Where a run begins.
enum class Root : std::uint8_t {
  kNewPair,    // two processes that have just begun, and an arbiter without a record
  kProtected,  // a is primary, b its eligible secondary
  kHalfWay,    // a is solo, b has joined again, and its session sends everything
  kSolo,       // a is solo, b is down
};

struct Scenario {
  std::string name;
  std::string what;
  Root root = Root::kProtected;
  Bounds bounds;
  NodeConfig config;
};
const std::vector<Scenario>& scenarios();
const Scenario* find_scenario(const std::string& name);

struct Findings {
  std::uint64_t states = 0;
  std::uint64_t transitions = 0;
  std::uint64_t depth = 0;  // choices from the root to the deepest world
  std::uint64_t nodes = 0;  // different single nodes met, and steps that they made
  std::uint64_t node_steps = 0;
  std::uint64_t checked_merges = 0;
  std::uint64_t false_merges = 0;
  bool complete = false;  // all within the bounds; else the limit came first: all up to `depth` - 1 choices
  std::string broken;     // the rule; empty: none
  std::vector<Choice> trace;
};

// At most about `limit` worlds. `check_merges`: see NodeBook. Deterministic.
Findings explore(const Scenario& scenario, Plant plant, std::uint64_t limit, bool check_merges);

// A trace as an argument, and back; no value for what is no trace.
std::string to_text(const std::vector<Choice>& trace);
std::optional<std::vector<Choice>> parse_trace(const std::string& text);
// Goes through a trace and says what happens, line by line; the last one names the rule that broke. What is not possible is said, too.
struct Replay {
  std::vector<std::string> lines;
  std::string broken;
  bool possible = true;
};
Replay replay(const Scenario& scenario, Plant plant, const std::vector<Choice>& trace);

}  // namespace understudy::explore
