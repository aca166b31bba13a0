// The arbiter of a pair without a third place: its rules, and its record over a restart.
#include "failover/manual_arbiter.h"

#include <filesystem>
#include <future>
#include <unistd.h>

#include <gtest/gtest.h>

#include "failover/witness_store.h"
#include "tests/support/bounds.h"

namespace understudy {
namespace {

constexpr NodeIncarnation kA{NodeId::kA, Incarnation{101}};
constexpr NodeIncarnation kB{NodeId::kB, Incarnation{202}};
constexpr WitnessIdentity kIdentity{.store = StoreId{1}};

WitnessPair pair_at(Term term, NodeIncarnation holder, std::vector<NodeIncarnation> eligible) {
  const auto mode = eligible.size() == 2 ? PairMode::kPair : PairMode::kSolo;
  return {.record = ArbiterRecord{term, mode, holder, std::move(eligible), RequestId{1}}, .made_by = std::nullopt, .forgotten = {}};
}
Proposal takeover(NodeIncarnation who, Term expected, Term at_least) {
  return {.kind = ProposalKind::kTakeover,
          .request = RequestId{9},
          .expected_term = expected,
          .at_least = at_least,
          .proposer = who,
          .peer = {}};
}

TEST(ManualArbiter, TermsOfTheTwoNodesNeverMeet) {
  for (std::uint64_t now = 1; now <= 8; ++now) {
    for (std::uint64_t at_least = 1; at_least <= 12; ++at_least) {
      for (const auto& [who, other] : {std::pair{kA, kB}, std::pair{kB, kA}}) {
        const auto decision = decide_manually(pair_at(Term{now}, other, {other, who}), takeover(who, Term{now}, Term{at_least}), kIdentity);
        ASSERT_TRUE(decision.answer.granted) << decision.answer.reason;
        const std::uint64_t granted = decision.answer.record->term.raw();
        EXPECT_EQ(granted % 2, who == kA ? 1U : 0U);
        EXPECT_GT(granted, now);
        EXPECT_GE(granted, at_least);
        EXPECT_LE(granted, std::max(now + 1, at_least) + 1);
      }
    }
  }
}

TEST(ManualArbiter, ARepetitionIsGrantedAgain) {
  const Proposal proposal = takeover(kB, Term{3}, Term{4});
  const auto first = decide_manually(pair_at(Term{3}, kA, {kA, kB}), proposal, kIdentity);
  const auto again = decide_manually(*first.changed, proposal, kIdentity);
  EXPECT_TRUE(again.answer.granted);
  EXPECT_FALSE(again.changed.has_value());
}

TEST(ManualArbiter, NobodyWhoIsNotEligibleIsGranted) {
  EXPECT_FALSE(decide_manually(pair_at(Term{3}, kA, {kA}), takeover(kB, Term{3}, Term{4}), kIdentity).answer.granted);
}

Heartbeat saying(Role role, Term term, Incarnation eligible) {
  Heartbeat beat;
  beat.sender = kA;
  beat.role = role;
  beat.term = term;
  beat.eligible_peer = eligible;
  return beat;
}

TEST(ManualArbiter, FollowsWhatAHolderSaysToAHigherTerm) {
  const WitnessPair known = pair_at(Term{3}, kA, {kA});
  const auto pair = adopt(known, saying(Role::kPrimary, Term{5}, kB.incarnation));
  ASSERT_TRUE(pair && pair->record);
  EXPECT_EQ(pair->record->mode, PairMode::kPair);
  EXPECT_EQ(pair->record->holder, kA);
  EXPECT_EQ(pair->record->eligible, (std::vector{kA, kB}));
  const auto solo = adopt(known, saying(Role::kSolo, Term{5}, {}));
  ASSERT_TRUE(solo && solo->record);
  EXPECT_EQ(solo->record->mode, PairMode::kSolo);
  EXPECT_TRUE(adopt({}, saying(Role::kSolo, Term{1}, {})));
}

TEST(ManualArbiter, NeitherOldNewsNorAStrangersWordChangeTheRecord) {
  const WitnessPair known = pair_at(Term{3}, kB, {kB});
  EXPECT_FALSE(adopt(known, saying(Role::kSolo, Term{3}, {})));
  EXPECT_FALSE(adopt(known, saying(Role::kSecondary, Term{9}, {})));
  EXPECT_FALSE(adopt(known, saying(Role::kPrimary, Term{9}, {}))) << "a pair has two";
}

class ManualArbiterStore : public testing::Test {
 protected:
  void SetUp() override {
    path_ = std::filesystem::temp_directory_path() / ("understudy-manual-test-" + std::to_string(::getpid()));
    std::filesystem::remove_all(path_);
    auto loop = LoopThread::start(clock_, "manual-test");
    ASSERT_TRUE(loop);
    loop_ = std::move(*loop);
    open();
  }
  void TearDown() override {
    close();
    std::filesystem::remove_all(path_);
  }
  void open() {
    loop_->loop().post_and_wait(
        [&] {
          auto store = WitnessStore::open(path_, WitnessStore::Open::kNew);
          ASSERT_TRUE(store) << store.error().text();
          auto arbiter = ManualArbiter::create(loop_->loop(), std::move(*store), PairId{7});
          ASSERT_TRUE(arbiter) << arbiter.error().text();
          arbiter_ = std::move(*arbiter);
        },
        kLong);
  }
  void close() {
    loop_->loop().post_and_wait([&] { arbiter_.reset(); }, kLong);
  }
  std::optional<ArbiterRecord> read() {
    std::promise<std::optional<ArbiterRecord>> record;
    loop_->loop().post(
        [&] { arbiter_->read([&](const Result<ArbiterAnswer>& answer) { record.set_value(answer ? answer->record : std::nullopt); }); });
    return record.get_future().get();
  }
  ArbiterAnswer propose(const Proposal& proposal) {
    std::promise<ArbiterAnswer> granted;
    loop_->loop().post([&] {
      arbiter_->propose(proposal, [&](const Result<ArbiterAnswer>& answer) { granted.set_value(answer ? *answer : ArbiterAnswer{}); });
    });
    return granted.get_future().get();
  }

  MonotonicClock clock_;
  std::filesystem::path path_;
  std::unique_ptr<LoopThread> loop_;
  std::unique_ptr<ManualArbiter> arbiter_;
};

TEST_F(ManualArbiterStore, TheRecordOutlivesTheProcess) {
  EXPECT_FALSE(read());
  const Proposal first{
      .kind = ProposalKind::kBootstrap, .request = RequestId{3}, .expected_term = {}, .at_least = Term{1}, .proposer = kA, .peer = {}};
  EXPECT_TRUE(propose(first).granted);
  close();
  open();
  ASSERT_TRUE(read());
  EXPECT_EQ(read()->holder, kA);
}

TEST_F(ManualArbiterStore, WhatTheOtherNodeSaysIsReadAfterwards) {
  loop_->loop().post_and_wait([&] { arbiter_->heard(saying(Role::kPrimary, Term{5}, kB.incarnation)); }, kLong);
  const auto record = read();
  ASSERT_TRUE(record);
  EXPECT_EQ(record->term, Term{5});
  EXPECT_TRUE(propose(takeover(kB, Term{5}, Term{6})).granted);
}

}  // namespace
}  // namespace understudy
