// 10,000 seeds without a violation, and proof that the oracles can fail: each planted bug is found.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/sim/exploration.h"

namespace understudy::sim {
namespace {

// Sanitized builds run a tenth: what they look for does not hide in rare seeds.
constexpr std::uint64_t kShare = UNDERSTUDY_SIM_SHARE;

// Each failure is the test's, up to a few, with the command that replays it.
Totals explore(Scenario scenario, std::uint64_t seeds, bool real_sessions = false) {
  constexpr unsigned kMostShown = 5;
  unsigned shown = 0;
  const Options options{.scenario = scenario, .real_sessions = real_sessions};
  return explore(options, 1, seeds / kShare, 2, [&](const Options& own, const Outcome& outcome) {
    if (shown++ >= kMostShown) return;
    ADD_FAILURE() << (real_sessions ? "sim --real" : "sim") << " --scenario " << name_of(scenario) << " --seed " << own.seed
                  << " --verbose: " << outcome.rule << ": " << outcome.what;
  });
}

// Found among a million: the guest's holder switches the other host off just when the judge looks who may run.
TEST(SimPair, AHostThatWasSwitchedOffAMomentAgoMayNotRun) {
  const Outcome outcome = run({.seed = 282'006, .scenario = Scenario::kChaos});
  EXPECT_TRUE(outcome.ok) << outcome.rule << ": " << outcome.what;
}

TEST(SimPair, Chaos) {
  const Totals totals = explore(Scenario::kChaos, 6000);
  // The runs must have gone where it is hard: otherwise their silence proves nothing.
  EXPECT_GT(totals.takeovers, totals.runs / 4);
  EXPECT_GT(totals.terms, totals.runs * 3);
  EXPECT_GT(totals.delivered, totals.runs * 100);
  EXPECT_LT(totals.without_survivor, totals.runs / 2);
}

TEST(SimPair, ChaosWithoutCrashesAlwaysLeavesAnImage) {
  const Totals totals = explore(Scenario::kNoCrash, 3000);
  EXPECT_GT(totals.takeovers, totals.runs / 4);
  EXPECT_EQ(totals.without_survivor, 0U);
}

TEST(SimPair, OneFaultNeverEndsTheService) {
  const Totals totals = explore(Scenario::kSingleFault, 2000);
  EXPECT_GT(totals.takeovers, totals.runs / 5);
}

// Without a third place, by the word of operators who know the truth.
TEST(SimPair, OperatorsGrantWhereNoArbiterIs) {
  const Totals totals = explore(Scenario::kManual, 2000);
  EXPECT_GT(totals.takeovers, totals.runs / 5);
  EXPECT_LT(totals.without_survivor, totals.runs / 3);
}

// A pair that lives long: its safety and its service do not wear out.
TEST(SimPair, EnduresManyFaults) {
  std::size_t interruptions = 0;
  for (std::uint64_t seed = 1; seed <= 20 / std::min<std::uint64_t>(kShare, 10); ++seed) {
    const Outcome outcome = run({.seed = seed, .scenario = Scenario::kEndurance, .faults = 300});
    EXPECT_TRUE(outcome.ok) << "sim --scenario endurance --faults 300 --seed " << seed << " --verbose: " << outcome.rule << ": "
                            << outcome.what;
    EXPECT_EQ(outcome.faults, 300U);
    interruptions += outcome.interruptions;
  }
  EXPECT_GT(interruptions, 0U) << "nothing that was struck mattered";
}

// What the flight recorder keeps of a node replays to the same decisions, from every chunk's begin, whatever happened.
TEST(SimFlightRecorder, ReplaysEveryNode) {
  std::uint64_t replayed = 0;
  for (std::uint64_t seed = 1; seed <= 200 / kShare; ++seed) {
    for (const Scenario scenario : {Scenario::kChaos, Scenario::kSingleFault}) {
      const Options plain{.seed = seed, .scenario = scenario};
      Options recorded = plain;
      recorded.recorded = true;
      const Outcome outcome = run(recorded);
      EXPECT_TRUE(outcome.ok) << "sim --recorded --scenario " << name_of(scenario) << " --seed " << seed << ": " << outcome.what;
      EXPECT_EQ(outcome.digest, run(plain).digest) << "recording changes what a node does";
      replayed += outcome.replayed;
    }
  }
  EXPECT_GT(replayed, 200'000U / kShare);
}

// The same with the real sessions and gate: slower, so fewer.
TEST(SimRealSessions, Chaos) {
  const Totals totals = explore(Scenario::kChaos, 1500, true);
  EXPECT_GT(totals.takeovers, totals.runs / 4);
  EXPECT_GT(totals.delivered, totals.runs * 100);
}

TEST(SimRealSessions, ChaosWithoutCrashesAlwaysLeavesAnImage) {
  const Totals totals = explore(Scenario::kNoCrash, 1500, true);
  EXPECT_EQ(totals.without_survivor, 0U);
}

TEST(SimRealSessions, OneFaultNeverEndsTheService) { explore(Scenario::kSingleFault, 500, true); }

TEST(SimPair, OneSeedReplaysExactly) {
  for (const bool real_sessions : {false, true}) {
    for (const std::uint64_t seed : {1U, 17U, 4711U}) {
      const Outcome first = run({.seed = seed, .real_sessions = real_sessions});
      const Outcome again = run({.seed = seed, .real_sessions = real_sessions});
      EXPECT_EQ(first.delivered, again.delivered);
      EXPECT_EQ(first.digest, again.digest);
      EXPECT_NE(first.digest, run({.seed = seed + 1, .real_sessions = real_sessions}).digest);
    }
  }
}

struct Planted {
  const char* name;
  Bug bug;
  Scenario scenario;
  std::vector<std::string> found_as;  // any of these rules may be the first to see it
  bool real_sessions = false;
};

class PlantedBug : public testing::TestWithParam<Planted> {};

TEST_P(PlantedBug, IsFound) {
  const Planted& planted = GetParam();
  for (std::uint64_t seed = 1; seed <= 20'000; ++seed) {
    const Outcome outcome = run({.seed = seed, .scenario = planted.scenario, .bug = planted.bug, .real_sessions = planted.real_sessions});
    if (outcome.ok) continue;
    for (const std::string& rule : planted.found_as)
      if (outcome.rule == rule) return;
  }
  FAIL() << "20,000 seeds did not find it";
}

INSTANTIATE_TEST_SUITE_P(
    SimPair, PlantedBug,
    testing::Values(
        Planted{"PromiseNotStored", Bug::kPromiseNotStored, Scenario::kChaos, {"promise first"}},
        Planted{"AcksAfterTakeover", Bug::kAcksAfterTakeover, Scenario::kChaos, {"nothing after takeover", "one history"}},
        Planted{"AckOpensTooMuch", Bug::kAckOpensTooMuch, Scenario::kChaos, {"commit before output", "nothing lost"}},
        Planted{"SoloUnproven", Bug::kSoloUnproven, Scenario::kSingleFault, {"service goes on", "solo only when well"}},
        Planted{"ProtectTooEarly", Bug::kProtectTooEarly, Scenario::kChaos, {"nothing lost"}},
        Planted{"SoloStrikesNobody", Bug::kSoloStrikesNobody, Scenario::kChaos, {"nothing lost", "nothing after takeover"}},
        Planted{"GateAlwaysOpen", Bug::kGateAlwaysOpen, Scenario::kSingleFault, {"commit before output"}},
        Planted{"ProtectTooEarlyReal", Bug::kProtectTooEarly, Scenario::kChaos, {"nothing lost"}, true},
        Planted{"GateAlwaysOpenReal", Bug::kGateAlwaysOpen, Scenario::kSingleFault, {"solo by grant"}, true},
        Planted{"EndNotTold", Bug::kEndNotTold, Scenario::kSingleFault, {"both name it"}},
        Planted{"EndNotToldReal", Bug::kEndNotTold, Scenario::kSingleFault, {"both name it"}, true},
        Planted{"EndNotToldChaos", Bug::kEndNotTold, Scenario::kChaos, {"nobody revives it"}},
        Planted{"EndToldTooEarly", Bug::kEndToldTooEarly, Scenario::kChaos, {"nobody revives it"}},
        Planted{"OrdersNotStored", Bug::kOrdersNotStored, Scenario::kSingleFault, {"obeyed"}},
        Planted{"OperatorLies", Bug::kOperatorLies, Scenario::kManual, {"nothing after takeover", "one history", "nothing lost"}},
        Planted{"OwnRecordTrusted", Bug::kOwnRecordTrusted, Scenario::kManual, {"nothing after takeover", "one history", "nothing lost"}},
        Planted{"GrantNotStored", Bug::kGrantNotStored, Scenario::kChaos, {"term rises", "run by grant"}}),
    [](const testing::TestParamInfo<Planted>& planted) { return std::string{planted.param.name}; });

}  // namespace
}  // namespace understudy::sim
