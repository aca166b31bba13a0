#include "failover/witness_core.h"

#include <deque>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy {
namespace {

using testing::HasSubstr;

constexpr NodeIncarnation kA1{NodeId::kA, Incarnation{1}};
constexpr NodeIncarnation kA2{NodeId::kA, Incarnation{2}};
constexpr NodeIncarnation kB1{NodeId::kB, Incarnation{1}};
constexpr NodeIncarnation kB2{NodeId::kB, Incarnation{2}};
constexpr auto kMax = std::numeric_limits<std::uint64_t>::max();
constexpr WitnessIdentity kWitness{.store = StoreId{77}, .amnesiac = false};
constexpr WitnessIdentity kReplacement{.store = StoreId{78}, .amnesiac = true};

Proposal proposal(ProposalKind kind, NodeIncarnation who, std::uint64_t expected, std::optional<NodeIncarnation> peer = {},
                  std::uint64_t request = 1000) {
  return {.kind = kind,
          .request = RequestId{request},
          .expected_term = Term{expected},
          .at_least = Term{expected + 1},
          .proposer = who,
          .peer = peer};
}

WitnessPair made(ArbiterRecord record) {
  record.request = RequestId{500};
  WitnessPair pair{.record = record, .made_by = proposal(ProposalKind::kRenew, record.holder, 4, {}, 500), .forgotten = {}};
  return pair;
}
// Term 5, held by a.
const WitnessPair kSoloA = made({.term = Term{5}, .mode = PairMode::kSolo, .holder = kA1, .eligible = {kA1}, .request = {}});
const WitnessPair kPairAB = made({.term = Term{5}, .mode = PairMode::kPair, .holder = kA1, .eligible = {kA1, kB1}, .request = {}});

struct Case {
  const char* name;
  WitnessPair before;
  Proposal asked;
  bool granted;
  std::string reason;   // of the refusal, a part
  ArbiterRecord after;  // if granted
  WitnessIdentity witness = kWitness;
};

ArbiterRecord record(std::uint64_t term, PairMode mode, NodeIncarnation holder, std::vector<NodeIncarnation> eligible) {
  return {.term = Term{term}, .mode = mode, .holder = holder, .eligible = std::move(eligible), .request = RequestId{1000}};
}

Proposal with(Proposal p, auto change) {
  change(p);
  return p;
}

TEST(WitnessCore, Rules) {
  using enum ProposalKind;
  const WitnessPair none;
  const Case cases[] = {
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
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto decision = decide(c.before, c.asked, c.witness);
    EXPECT_EQ(decision.answer.granted, c.granted);
    EXPECT_EQ(decision.answer.store, c.witness.store);
    if (c.granted) {
      ASSERT_TRUE(decision.changed);
      EXPECT_EQ(decision.answer.record, c.after);
      EXPECT_EQ(decision.changed->record, c.after);
      EXPECT_EQ(decision.changed->made_by, c.asked);
      EXPECT_TRUE(decision.answer.reason.empty());
    } else {
      EXPECT_THAT(decision.answer.reason, HasSubstr(c.reason));
      EXPECT_EQ(decision.answer.record, c.before.record) << "a refusal shows the record as it stands";
      if (decision.changed) {
        EXPECT_EQ(decision.changed->record, c.before.record) << "a refusal changes no record";
      }
    }
  }
}

TEST(WitnessCore, ALostReplyIsGivenAgain) {
  const auto asked = proposal(ProposalKind::kTakeover, kB1, 5);
  const auto first = decide(kPairAB, asked, kWitness);
  ASSERT_TRUE(first.answer.granted);
  const auto again = decide(*first.changed, asked, kWitness);
  EXPECT_TRUE(again.answer.granted);
  EXPECT_EQ(again.answer.record, first.answer.record);
  EXPECT_FALSE(again.changed);
  // With a risen at_least only if the grant is still enough.
  EXPECT_FALSE(decide(*first.changed, with(asked, [](auto& p) { p.at_least = Term{7}; }), kWitness).answer.granted);
  // Not to another proposal under the same id.
  EXPECT_FALSE(decide(*first.changed, with(asked, [](auto& p) { p.proposer = kA1; }), kWitness).answer.granted);
  // Not once the record moved on.
  const auto renewed = decide(*first.changed, proposal(ProposalKind::kRenew, kB1, 6, {}, 1001), kWitness);
  ASSERT_TRUE(renewed.answer.granted);
  const auto late = decide(*renewed.changed, asked, kWitness);
  EXPECT_FALSE(late.answer.granted);
  EXPECT_EQ(late.answer.record->term, Term{7});
}

TEST(WitnessCore, AWitnessThatForgotGrantsNothingUntilSeededAbove) {
  // b is solo in term 5; the witness lost its store and is set up anew as if it had never been.
  WitnessPair pair;
  const auto alarm = decide(pair, proposal(ProposalKind::kRenew, kB1, 5), kWitness);
  EXPECT_FALSE(alarm.answer.granted);
  ASSERT_TRUE(alarm.changed);
  pair = *alarm.changed;
  EXPECT_EQ(pair.forgotten, Term{5});
  // From here on nobody starts the pair anew behind b's back.
  EXPECT_THAT(decide(pair, proposal(ProposalKind::kBootstrap, kA1, 0), kWitness).answer.reason, HasSubstr("has forgotten term 5"));
  EXPECT_FALSE(decide_seed(pair, Term{5}, kB1, kWitness).answer.granted);
  const auto seeded = decide_seed(pair, Term{8}, kB1, kWitness);
  ASSERT_TRUE(seeded.answer.granted);
  pair = *seeded.changed;
  EXPECT_TRUE(valid(*pair.record));
  EXPECT_TRUE(decide_seed(pair, Term{8}, kB1, kWitness).answer.granted) << "a lost answer";
  EXPECT_FALSE(decide_seed(pair, Term{9}, kA1, kWitness).answer.granted) << "the record is intact again";
  EXPECT_FALSE(decide(pair, proposal(ProposalKind::kTakeover, kA1, 8), kWitness).answer.granted);
  const auto goes_on = decide(pair, proposal(ProposalKind::kRenew, kB1, 8), kWitness);
  EXPECT_TRUE(goes_on.answer.granted);
  EXPECT_EQ(goes_on.answer.record->term, Term{9});
}

TEST(WitnessCore, ARolledBackStoreIsNoticed) {
  // An old backup: the record says a holds term 5 with b eligible. In truth a went solo in term 6.
  const auto alarm = decide(kPairAB, proposal(ProposalKind::kReprotect, kA1, 6, kB2), kWitness);
  EXPECT_FALSE(alarm.answer.granted);
  ASSERT_TRUE(alarm.changed);
  EXPECT_FALSE(decide(*alarm.changed, proposal(ProposalKind::kTakeover, kB1, 5), kWitness).answer.granted);
  EXPECT_FALSE(decide(*alarm.changed, *kPairAB.made_by, kWitness).answer.granted) << "nor is an old grant confirmed";
  EXPECT_FALSE(decide_seed(*alarm.changed, Term{6}, kA1, kWitness).answer.granted);
  EXPECT_TRUE(decide_seed(*alarm.changed, Term{7}, kA1, kWitness).answer.granted);
}

TEST(WitnessCore, ASeedIsChecked) {
  const WitnessPair none;
  EXPECT_TRUE(decide_seed(none, Term{3}, kA1, kReplacement).answer.granted);
  EXPECT_TRUE(decide_seed(none, Term{3}, kA1, kWitness).answer.granted);
  EXPECT_THAT(decide_seed(none, Term{0}, kA1, kWitness).answer.reason, HasSubstr("a seed's term is 1 to"));
  EXPECT_FALSE(decide_seed(none, after(kMaxTerm), kA1, kWitness).answer.granted);
  EXPECT_THAT(decide_seed(none, Term{3}, {NodeId::kA, Incarnation{}}, kWitness).answer.reason, HasSubstr("`understudy status`"));
  EXPECT_THAT(decide_seed(kPairAB, Term{9}, kA1, kWitness).answer.reason, HasSubstr("the record is intact"));
}

// ---- Exhaustive: every record that can come to be, met by every proposal.

const NodeIncarnation kAll[] = {kA1, kA2, kB1, kB2};

std::vector<Proposal> every_proposal(std::uint64_t now) {
  std::vector<Proposal> all;
  std::uint64_t request = 1;
  for (unsigned kind = 0; kind <= 5; ++kind) {
    for (const auto& who : kAll) {
      for (const std::uint64_t expected : {now == 0 ? 0 : now - 1, now}) {
        all.push_back(proposal(static_cast<ProposalKind>(kind), who, expected, std::nullopt, ++request));
        for (const auto& peer : kAll) all.push_back(proposal(static_cast<ProposalKind>(kind), who, expected, peer, ++request));
      }
    }
  }
  return all;
}

bool contains(const std::vector<NodeIncarnation>& set, const NodeIncarnation& who) { return std::ranges::find(set, who) != set.end(); }

// What must hold of any step, said anew rather than by the rules' own code.
void check_step(const WitnessPair& before, const Proposal& asked, const WitnessDecision& decision) {
  if (!decision.answer.granted) {
    EXPECT_FALSE(decision.changed) << "these proposals prove no amnesia";
    return;
  }
  ASSERT_TRUE(decision.changed && decision.changed->record);
  const auto& next = *decision.changed->record;
  const auto now = before.record ? before.record->term : Term{};
  EXPECT_TRUE(valid(next));
  EXPECT_GT(next.term, now);
  EXPECT_EQ(asked.expected_term, now);
  EXPECT_EQ(next.holder, asked.proposer) << "whoever holds a term asked for it";
  if (!before.record) return;
  EXPECT_TRUE(contains(before.record->eligible, next.holder)) << "only the eligible are granted";
  for (const auto& who : next.eligible) {
    const bool added_by_holder = asked.kind == ProposalKind::kReprotect && asked.proposer == before.record->holder && asked.peer == who;
    EXPECT_TRUE(contains(before.record->eligible, who) || added_by_holder);
  }
}

TEST(WitnessCore, EveryReachableRecordMeetsEveryProposal) {
  const auto key = [](const ArbiterRecord& r) {
    std::string text = r.mode == PairMode::kSolo ? "s" : "p";
    const auto add = [&](const NodeIncarnation& who) { text += name_of(who.node) + std::to_string(who.incarnation.raw()); };
    add(r.holder);
    for (const auto& who : r.eligible) add(who);
    return text;
  };
  std::set<std::string> seen;
  std::deque<WitnessPair> todo{WitnessPair{}};
  std::size_t steps = 0;
  while (!todo.empty() && !HasFailure()) {
    const auto pair = todo.front();
    todo.pop_front();
    for (auto& asked : every_proposal(pair.record ? pair.record->term.raw() : 0)) {
      asked.request = RequestId{asked.request.raw() + ++steps * 1000};
      const auto decision = decide(pair, asked, kWitness);
      check_step(pair, asked, decision);
      if (decision.changed && seen.insert(key(*decision.changed->record)).second) todo.push_back(*decision.changed);
    }
  }
  // 4 solo; 2 nodes as holders x 4 combinations of incarnations, in either order of the eligible.
  EXPECT_GE(seen.size(), 12U);
}

// ---- Random: two nodes of changing incarnations behind a network that loses, delays and repeats everything.

TEST(WitnessCore, NoTermHasTwoHoldersAndNobodyStruckIsGranted) {
  for (unsigned seed = 0; seed < 2000 && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random{seed};
    const auto roll = [&](std::uint64_t below) { return std::uniform_int_distribution<std::uint64_t>{0, below - 1}(random); };
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
      const auto decision = decide(pair, arriving, kWitness);
      if (!decision.answer.granted) refused_for_good.insert(arriving.request.raw());
      if (decision.answer.granted) {
        const auto& granted = *decision.answer.record;
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
      if (decision.changed) pair = *decision.changed;
      EXPECT_EQ(pair.forgotten, Term{}) << "honest nodes raise no alarm";
      if (roll(3) != 0) belief[static_cast<std::size_t>(arriving.proposer.node)] = decision.answer.record;
      if (roll(3) == 0) belief[roll(2)] = pair.record;  // a read
    }
  }
}

}  // namespace
}  // namespace understudy
