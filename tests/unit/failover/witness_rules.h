// What the arbiter's rules are, as tests of them: a table of single decisions, and random histories. For the witness, and for etcd, which
// follows the same rules.
#pragma once

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "failover/witness_core.h"

namespace understudy::witness_rules {

inline constexpr NodeIncarnation kA1{NodeId::kA, Incarnation{1}};
inline constexpr NodeIncarnation kA2{NodeId::kA, Incarnation{2}};
inline constexpr NodeIncarnation kB1{NodeId::kB, Incarnation{1}};
inline constexpr NodeIncarnation kB2{NodeId::kB, Incarnation{2}};
inline constexpr auto kMax = std::numeric_limits<std::uint64_t>::max();
inline constexpr WitnessIdentity kWitness{.store = StoreId{77}, .amnesiac = false};
inline constexpr WitnessIdentity kReplacement{.store = StoreId{78}, .amnesiac = true};

inline Proposal proposal(ProposalKind kind, NodeIncarnation who, std::uint64_t expected, std::optional<NodeIncarnation> peer = {},
                         std::uint64_t request = 1000) {
  return {.kind = kind,
          .request = RequestId{request},
          .expected_term = Term{expected},
          .at_least = Term{expected + 1},
          .proposer = who,
          .peer = peer};
}

inline WitnessPair made(ArbiterRecord record) {
  record.request = RequestId{500};
  WitnessPair pair{.record = record, .made_by = proposal(ProposalKind::kRenew, record.holder, 4, {}, 500), .forgotten = {}};
  return pair;
}
// Term 5, held by a.
inline const WitnessPair kSoloA = made({.term = Term{5}, .mode = PairMode::kSolo, .holder = kA1, .eligible = {kA1}, .request = {}});
inline const WitnessPair kPairAB = made({.term = Term{5}, .mode = PairMode::kPair, .holder = kA1, .eligible = {kA1, kB1}, .request = {}});

struct Case {
  const char* name;
  WitnessPair before;
  Proposal asked;
  bool granted;
  std::string reason;   // of the refusal, a part
  ArbiterRecord after;  // if granted
  WitnessIdentity witness = kWitness;
};

inline ArbiterRecord record(std::uint64_t term, PairMode mode, NodeIncarnation holder, std::vector<NodeIncarnation> eligible) {
  return {.term = Term{term}, .mode = mode, .holder = holder, .eligible = std::move(eligible), .request = RequestId{1000}};
}

inline Proposal with(Proposal p, auto change) {
  change(p);
  return p;
}

inline std::vector<Case> cases() {
  using enum ProposalKind;
  const WitnessPair none;
  return {
      // Bootstrap.
      {"a new pair starts solo", none, proposal(kBootstrap, kA1, 0), true, "", record(1, PairMode::kSolo, kA1, {kA1})},
      {"either node may start it", none, proposal(kBootstrap, kB2, 0), true, "", record(1, PairMode::kSolo, kB2, {kB2})},
      {"the second to start is told who came first", kSoloA, proposal(kBootstrap, kB1, 0), false, "the record moved on", {}},
      {"a known pair is not started again", kSoloA, proposal(kBootstrap, kA1, 5), false, "the pair is not new", {}},
      {"an amnesiac store starts no pair", none, proposal(kBootstrap, kA1, 0), false, "seed the pair", {}, kReplacement},
      {"a node with a history is no new pair",
       none,
       with(proposal(kBootstrap, kA1, 0), [](auto& p) { p.at_least = Term{4}; }),
       false,
       "knows of term 4",
       {}},
      {"nothing else starts a pair: takeover", none, proposal(kTakeover, kA1, 0), false, "never bootstrapped", {}},
      {"nothing else starts a pair: solo", none, proposal(kSolo, kA1, 0), false, "never bootstrapped", {}},
      {"nothing else starts a pair: re-protection", none, proposal(kReprotect, kA1, 0, kB1), false, "never bootstrapped", {}},
      {"nothing else starts a pair: switchover", none, proposal(kSwitchover, kA1, 0, kB1), false, "never bootstrapped", {}},
      {"nothing else starts a pair: renewal", none, proposal(kRenew, kA1, 0), false, "never bootstrapped", {}},
      // Takeover.
      {"the eligible peer takes over and strikes the holder", kPairAB, proposal(kTakeover, kB1, 5), true, "",
       record(6, PairMode::kSolo, kB1, {kB1})},
      {"an incarnation that lost its image is not eligible", kPairAB, proposal(kTakeover, kB2, 5), false, "is not eligible", {}},
      {"the holder's next incarnation is not eligible", kPairAB, proposal(kTakeover, kA2, 5), false, "is not eligible", {}},
      {"who was struck is not eligible", kSoloA, proposal(kTakeover, kB1, 5), false, "is not eligible", {}},
      {"the holder does not take over from itself", kPairAB, proposal(kTakeover, kA1, 5), false, "holds the term already", {}},
      // Solo.
      {"the holder goes solo and strikes the peer", kPairAB, proposal(kSolo, kA1, 5), true, "", record(6, PairMode::kSolo, kA1, {kA1})},
      {"solo again", kSoloA, proposal(kSolo, kA1, 5), true, "", record(6, PairMode::kSolo, kA1, {kA1})},
      {"the peer may not go solo", kPairAB, proposal(kSolo, kB1, 5), false, "does not hold the term", {}},
      {"the holder's next incarnation may not go solo", kPairAB, proposal(kSolo, kA2, 5), false, "does not hold the term", {}},
      // Re-protection.
      {"the holder adds its peer", kSoloA, proposal(kReprotect, kA1, 5, kB2), true, "", record(6, PairMode::kPair, kA1, {kA1, kB2})},
      {"the holder replaces its peer", kPairAB, proposal(kReprotect, kA1, 5, kB2), true, "", record(6, PairMode::kPair, kA1, {kA1, kB2})},
      {"the peer does not add itself", kSoloA, proposal(kReprotect, kB1, 5, kB1), false, "does not hold the term", {}},
      {"without a peer", kSoloA, proposal(kReprotect, kA1, 5), false, "names the peer", {}},
      {"with itself as the peer", kSoloA, proposal(kReprotect, kA1, 5, kA1), false, "names the peer", {}},
      {"with its own node's other incarnation", kSoloA, proposal(kReprotect, kA1, 5, kA2), false, "names the peer", {}},
      {"with a peer without incarnation",
       kSoloA,
       proposal(kReprotect, kA1, 5, NodeIncarnation{NodeId::kB, Incarnation{}}),
       false,
       "names the peer",
       {}},
      // Switchover.
      {"the peer takes over and the holder stays eligible", kPairAB, proposal(kSwitchover, kB1, 5, kA1), true, "",
       record(6, PairMode::kPair, kB1, {kA1, kB1})},
      {"only to an eligible incarnation", kPairAB, proposal(kSwitchover, kB2, 5, kA1), false, "is not eligible", {}},
      {"not out of solo", kSoloA, proposal(kSwitchover, kB1, 5, kA1), false, "is not eligible", {}},
      {"not to the holder", kPairAB, proposal(kSwitchover, kA1, 5, kB1), false, "holds the term already", {}},
      {"naming another incarnation of the holder", kPairAB, proposal(kSwitchover, kB1, 5, kA2), false, "names the holder", {}},
      {"naming no holder", kPairAB, proposal(kSwitchover, kB1, 5), false, "names the holder", {}},
      // Renewal.
      {"the holder raises the term over a promise", kPairAB, with(proposal(kRenew, kA1, 5), [](auto& p) { p.at_least = Term{9}; }), true,
       "", record(9, PairMode::kPair, kA1, {kA1, kB1})},
      {"renewal in solo stays solo", kSoloA, proposal(kRenew, kA1, 5), true, "", record(6, PairMode::kSolo, kA1, {kA1})},
      {"the peer does not renew", kPairAB, proposal(kRenew, kB1, 5), false, "does not hold the term", {}},
      // Terms.
      {"a stale proposal", kPairAB, proposal(kTakeover, kB1, 4), false, "the record moved on: it is at term 5, not term 4", {}},
      {"a term from the future proves amnesia", kPairAB, proposal(kTakeover, kB1, 6), false, "its store was lost or rolled back", {}},
      {"at least the asked term", kPairAB, with(proposal(kTakeover, kB1, 5), [](auto& p) { p.at_least = Term{8}; }), true, "",
       record(8, PairMode::kSolo, kB1, {kB1})},
      {"above the record's term whatever is asked", kPairAB, with(proposal(kTakeover, kB1, 5), [](auto& p) { p.at_least = Term{0}; }), true,
       "", record(6, PairMode::kSolo, kB1, {kB1})},
      {"a wild jump",
       kPairAB,
       with(proposal(kTakeover, kB1, 5), [](auto& p) { p.at_least = Term{5 + kMaxTermStep + 1}; }),
       false,
       "too far above",
       {}},
      {"the last of all terms",
       kPairAB,
       with(proposal(kTakeover, kB1, 5), [](auto& p) { p.at_least = Term{kMax}; }),
       false,
       "no pair lives",
       {}},
      {"an absurd term read",
       kPairAB,
       with(proposal(kTakeover, kB1, 5), [](auto& p) { p.expected_term = Term{kMax}; }),
       false,
       "no pair lives",
       {}},
      // Forms.
      {"no request id", kPairAB, proposal(kTakeover, kB1, 5, {}, 0), false, "no request id", {}},
      {"no incarnation", kPairAB, proposal(kTakeover, {NodeId::kB, Incarnation{}}, 5), false, "no incarnation", {}},
      {"no such node", kPairAB, proposal(kTakeover, {static_cast<NodeId>(2), Incarnation{1}}, 5), false, "no node of a pair", {}},
      {"no such kind", kPairAB, proposal(static_cast<ProposalKind>(99), kB1, 5), false, "unknown kind of proposal 99", {}},
      {"another's request id", kPairAB, proposal(kTakeover, kB1, 5, {}, 500), false, "the request id is that of another proposal", {}},
  };
}

inline bool contains(const std::vector<NodeIncarnation>& set, const NodeIncarnation& who) {
  return std::ranges::find(set, who) != set.end();
}

// ---- Random: two nodes of changing incarnations behind a network that loses, delays and repeats everything.

// `decide` is asked in turn, and keeps the record of a pair that is new with each `start`.
struct Subject {
  std::function<void()> start;
  std::function<ArbiterAnswer(const Proposal&)> decide;
  std::function<WitnessPair()> kept;
};
inline void play_random_histories(unsigned seeds, const Subject& subject) {
  for (unsigned seed = 0; seed < seeds && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random{seed};
    const auto roll = [&](std::uint64_t below) { return std::uniform_int_distribution<std::uint64_t>{0, below - 1}(random); };
    subject.start();
    WitnessPair pair;
    std::uint64_t incarnation[2] = {1, 1};
    std::optional<ArbiterRecord> belief[2];  // what each node last heard
    std::vector<Proposal> on_the_way;        // each may arrive any number of times, at any time
    std::map<Term, NodeIncarnation> holder_of;
    std::set<std::pair<NodeId, std::uint64_t>> struck;
    std::uint64_t request = 0;
    Term last;
    std::set<std::uint64_t> refused_for_good;

    for (int step = 0; step < 200; ++step) {
      const auto index = roll(2);
      const NodeIncarnation me{static_cast<NodeId>(index), Incarnation{incarnation[index]}};
      const NodeIncarnation other{static_cast<NodeId>(1 - index), Incarnation{incarnation[1 - index]}};
      if (roll(20) == 0) ++incarnation[index];
      if (on_the_way.empty() || roll(2) == 0) {
        const auto expected = belief[index] ? belief[index]->term : Term{};
        Proposal p{.kind = static_cast<ProposalKind>(roll(6)),
                   .request = RequestId{++request},
                   .expected_term = expected,
                   .at_least = Term{belief[index] ? expected.raw() + roll(3) : roll(2)},
                   .proposer = me,
                   .peer = {}};
        if (roll(2) == 0) p.peer = other;
        on_the_way.push_back(p);
      }
      const auto& arriving = on_the_way[roll(on_the_way.size())];
      const auto answer = subject.decide(arriving);
      if (!answer.granted) refused_for_good.insert(arriving.request.raw());
      if (answer.granted) {
        const auto& granted = *answer.record;
        EXPECT_FALSE(refused_for_good.contains(arriving.request.raw())) << "a refusal is final: the asker gave the request up";
        const auto [entry, fresh] = holder_of.emplace(granted.term, granted.holder);
        EXPECT_EQ(entry->second, granted.holder) << "term " << granted.term.raw();
        EXPECT_EQ(granted.holder, arriving.proposer);
        if (fresh) {
          EXPECT_GT(granted.term, last);
          last = granted.term;
          EXPECT_FALSE(struck.contains({granted.holder.node, granted.holder.incarnation.raw()}));
          if (pair.record) {
            for (const auto& who : pair.record->eligible) {
              if (!contains(granted.eligible, who)) struck.insert({who.node, who.incarnation.raw()});
            }
          }
          for (const auto& who : granted.eligible) struck.erase({who.node, who.incarnation.raw()});  // re-added by a holder
        }
      }
      pair = subject.kept();
      EXPECT_EQ(pair.forgotten, Term{}) << "honest nodes raise no alarm";
      if (roll(3) != 0) belief[static_cast<std::size_t>(arriving.proposer.node)] = answer.record;
      if (roll(3) == 0) belief[roll(2)] = pair.record;  // a read
    }
  }
}

}  // namespace understudy::witness_rules
