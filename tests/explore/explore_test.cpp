// The short form of the exploration, and proof that it can fail: each rule that is broken on purpose is found, with a trace that replays.
#include <cstdio>
#include <string>

#include <gtest/gtest.h>

#include "tests/explore/explorer.h"

namespace understudy::explore {
namespace {

// Sanitized builds go a tenth of the way.
constexpr std::uint64_t kShare = UNDERSTUDY_EXPLORE_SHARE;

Scenario scenario_with(const std::string& name, std::uint8_t faults, std::uint8_t ticks) {
  const Scenario* found = find_scenario(name);
  EXPECT_TRUE(found != nullptr) << name;
  Scenario scenario = *found;
  scenario.bounds.horizon = ticks;
  scenario.bounds.budget[static_cast<std::size_t>(Cost::kFault)] = faults;
  return scenario;
}

std::string told(const Replay& replay) {
  std::string text;
  for (const std::string& line : replay.lines) text += line + "\n";
  return text;
}

TEST(Explore, NoRuleBreaksInAnyScenario) {
  for (const Scenario& scenario : scenarios()) {
    const Findings found = explore(scenario, Plant::kNothing, 20'000 / kShare, true);
    EXPECT_EQ(found.broken, "") << scenario.name << "\n" << told(replay(scenario, Plant::kNothing, found.trace));
    EXPECT_EQ(found.false_merges, 0U) << scenario.name << ": Node::visit_state() leaves something out";
    EXPECT_GT(found.checked_merges, 0U);
    std::printf("%s: %llu states, %llu transitions, %llu choices deep\n", scenario.name.c_str(),
                static_cast<unsigned long long>(found.states), static_cast<unsigned long long>(found.transitions),
                static_cast<unsigned long long>(found.depth));
  }
}

TEST(Explore, IsDeterministicAndEnds) {
  const Scenario scenario = scenario_with("cut", 0, 1);
  const Findings first = explore(scenario, Plant::kNothing, 1'000'000, false);
  const Findings again = explore(scenario, Plant::kNothing, 1'000'000, false);
  EXPECT_TRUE(first.complete);
  EXPECT_EQ(first.states, again.states);
  EXPECT_EQ(first.transitions, again.transitions);
  const Findings more = explore(scenario_with("cut", 0, 2), Plant::kNothing, 1'000'000, false);
  EXPECT_TRUE(more.complete);
  EXPECT_GT(more.states, first.states);
}

TEST(Explore, TracesAreReadBack) {
  const std::vector<Choice> trace{{Choice::kTick}, {Choice::kCut, 3}, {Choice::kCrash, 1, 2}};
  const auto back = parse_trace(to_text(trace));
  ASSERT_TRUE(back);
  EXPECT_EQ(to_text(*back), to_text(trace));
  for (const char* wrong : {"1", "1.2", "1.2.", "1.2.3;", "x.1.1", "1.2.300", "1.2.3,1"}) EXPECT_FALSE(parse_trace(wrong)) << wrong;
  const Scenario scenario = scenario_with("cut", 1, 1);
  EXPECT_FALSE(replay(scenario, Plant::kNothing, {{Choice::kWake, 0}}).possible) << "nobody stands still";
}

struct Planted {
  Plant plant;
  const char* scenario;
  std::uint8_t faults;
  const char* found_as;
};

class PlantedRule : public testing::TestWithParam<Planted> {};

TEST_P(PlantedRule, IsFoundWithAShortestTraceThatReplays) {
  const Planted& planted = GetParam();
  const Scenario scenario = scenario_with(planted.scenario, planted.faults, 4);
  const Findings found = explore(scenario, planted.plant, 400'000, false);
  ASSERT_EQ(found.broken, planted.found_as) << told(replay(scenario, planted.plant, found.trace));
  EXPECT_GE(found.trace.size(), found.depth) << "breadth first: all shorter ways were gone";
  const auto trace = parse_trace(to_text(found.trace));
  ASSERT_TRUE(trace);
  const Replay again = replay(scenario, planted.plant, *trace);
  EXPECT_TRUE(again.possible) << told(again);
  EXPECT_EQ(again.broken, planted.found_as) << told(again);
  // The same choices break nothing where the rule holds, as far as they are possible there.
  EXPECT_EQ(replay(scenario, Plant::kNothing, *trace).broken, "");
}

INSTANTIATE_TEST_SUITE_P(Explore, PlantedRule,
                         testing::Values(Planted{Plant::kArbiterGrantsTwice, "cut", 1, "a term is granted once"},

                                         Planted{Plant::kSoloStrikesNobody, "cut", 1, "solo strikes the peer"},
                                         Planted{Plant::kGateOpensTooEarly, "cut", 0, "commit before output"},
                                         Planted{Plant::kAckOpensTooMuch, "cut", 0, "commit before output"},

                                         Planted{Plant::kStoreLies, "cut", 1, "promise before asking"},
                                         Planted{Plant::kAcksBelowPromise, "cut", 1, "no ack below the promise"},
                                         Planted{Plant::kForeignAckCounts, "cut", 1, "the eligible peer commits"},
                                         Planted{Plant::kPromiseNotAwaited, "cut", 1, "promise before asking"}),
                         [](const testing::TestParamInfo<Planted>& planted) {
                           std::string name = name_of(planted.param.plant);
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace understudy::explore
