#include "failover/witness_core.h"

#include <deque>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "witness_rules.h"

namespace understudy {
namespace {

using testing::HasSubstr;

using namespace witness_rules;

TEST(WitnessCore, Rules) {
  for (const auto& c : cases()) {
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

TEST(WitnessCore, NoTermHasTwoHoldersAndNobodyStruckIsGranted) {
  WitnessPair pair;
  play_random_histories(2000, {.start = [&] { pair = {}; },
                               .decide =
                                   [&](const Proposal& asked) {
                                     auto decision = decide(pair, asked, kWitness);
                                     if (decision.changed) pair = *decision.changed;
                                     return decision.answer;
                                   },
                               .kept = [&] { return pair; }});
}

}  // namespace
}  // namespace understudy
