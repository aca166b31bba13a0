// A guest that ends by itself: over on both nodes, never revived, started again by an operator; and one that KVM gave up on.
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/failover/node_bench.h"

namespace understudy {
namespace {

using testing::HasSubstr;

constexpr const char* kOff = "the guest powered off at noon";

class NodeGuestHolder : public testing::Test {
 protected:
  void commit_end(std::uint64_t epoch) { bench.feed(input::EpochCommitted{Session{9}, {bench.status().term, Epoch{epoch}}, kOff}); }
  bool answered(bool ok) const {
    const auto result = bench.ever<action::CommandResult>();
    return result && result->ok == ok;
  }
  NodeBench bench;
};

TEST_F(NodeGuestHolder, AnEndIsSettledOnceThePeerHoldsIt) {
  bench.become_protected();
  bench.feed(input::GuestStopped{kOff});
  bench.committed(3);  // an epoch from before
  bench.run(100);
  EXPECT_EQ(bench.status().ended, kOff);
  EXPECT_FALSE(bench.status().end_settled);
  EXPECT_FALSE(bench.sent.guest_stopped);
  EXPECT_FALSE(bench.ever<action::PersistEnd>());
  commit_end(4);
  EXPECT_TRUE(bench.status().end_settled);
  EXPECT_TRUE(bench.sent.guest_stopped);
  EXPECT_EQ(bench.sent.guest, kOff);
  ASSERT_TRUE(bench.ever<action::PersistEnd>());
  EXPECT_EQ(bench.ever<action::PersistEnd>()->ended, kOff);
  EXPECT_TRUE(bench.status().is_protected) << "its image and its disks are";
}

TEST_F(NodeGuestHolder, AloneItIsSettledAtOnce) {
  bench.become_solo();
  bench.feed(input::GuestStopped{kOff});
  EXPECT_TRUE(bench.status().end_settled);
  EXPECT_TRUE(bench.ever<action::PersistEnd>());
}

TEST_F(NodeGuestHolder, WhileAPeerMayBecomeEligibleItIsNotSettledAlone) {
  bench.become_solo();
  bench.session_up();
  bench.committed(1);
  bench.feed(input::GateSet{bench.gate_order, Epoch{2}});
  bench.committed(2);
  ASSERT_TRUE(bench.ever<action::Propose>()) << "re-protection is asked";
  bench.feed(input::GuestStopped{kOff});
  bench.run(50);
  EXPECT_FALSE(bench.status().end_settled) << "the peer may be granted, and holds the guest as it lived";
  bench.grant(Term{2}, {bench.self(), bench.peer()});
  bench.persist(Term{2});
  EXPECT_FALSE(bench.status().end_settled);
  commit_end(3);
  EXPECT_TRUE(bench.status().end_settled);
}

TEST_F(NodeGuestHolder, APeerThatIsLostBeforeItHoldsTheEndIsStruckFirst) {
  bench.become_protected();
  bench.feed(input::GuestStopped{kOff});
  bench.speaking = false;
  bench.run(600);
  EXPECT_EQ(bench.proposal.kind, ProposalKind::kSolo) << "output that it sent before waits for that";
  EXPECT_FALSE(bench.status().end_settled);
  bench.grant(Term{3}, {bench.self()});
  bench.persist(Term{3});
  bench.run(20);
  EXPECT_TRUE(bench.status().end_settled);
}

TEST_F(NodeGuestHolder, AnOperatorStartsItAgain) {
  bench.become_protected();
  bench.feed(input::Command{CommandId{1}, CommandKind::kStart});
  EXPECT_TRUE(answered(false)) << "it is not over";
  bench.feed(input::GuestStopped{kOff});
  commit_end(3);
  bench.all.clear();
  bench.feed(input::Command{CommandId{2}, CommandKind::kSwitchover});
  ASSERT_TRUE(answered(false));
  EXPECT_THAT(bench.ever<action::CommandResult>()->sentence, HasSubstr(kOff));
  bench.all.clear();
  bench.feed(input::Command{CommandId{3}, CommandKind::kStart});
  ASSERT_TRUE(bench.last<action::RestartGuest>());
  EXPECT_FALSE(bench.ever<action::CommandResult>()) << "not before it runs";
  bench.feed(input::GuestRunning{bench.status().term});
  EXPECT_TRUE(answered(true));
  EXPECT_EQ(bench.status().ended, "");
  EXPECT_FALSE(bench.status().end_settled);
  EXPECT_EQ(bench.ever<action::PersistEnd>()->ended, "");
  commit_end(4);  // late, of the guest before
  EXPECT_FALSE(bench.status().end_settled);
}

TEST_F(NodeGuestHolder, AStartThatFailsLeavesItOver) {
  bench.become_protected();
  bench.feed(input::GuestStopped{kOff});
  commit_end(3);
  bench.feed(input::Command{CommandId{3}, CommandKind::kStart});
  bench.feed(input::GuestFailed{bench.status().term, "no kernel"});
  ASSERT_TRUE(answered(false));
  EXPECT_THAT(bench.ever<action::CommandResult>()->sentence, HasSubstr("no kernel"));
  EXPECT_EQ(bench.status().role, Role::kPrimary);
  EXPECT_EQ(bench.status().ended, kOff);
}

TEST_F(NodeGuestHolder, AnEndAnswersASwitchoverUnderWay) {
  bench.become_protected();
  bench.feed(input::Command{CommandId{1}, CommandKind::kSwitchover});
  bench.answer(NodeBench::record(Term{2}, bench.self(), {bench.self(), bench.peer()}));
  ASSERT_TRUE(bench.ever<action::FinishGuest>());
  bench.feed(input::GuestStopped{kOff});
  EXPECT_TRUE(answered(false));
  bench.run(100);
  EXPECT_FALSE(bench.ever<action::ResumeGuest>());
  EXPECT_EQ(bench.status().ended, kOff);
}

TEST_F(NodeGuestHolder, WhatItTellsReachesThePeer) {
  bench.become_protected();
  bench.feed(input::GuestNoted{"the guest panicked at noon"});
  EXPECT_EQ(bench.sent.guest, "the guest panicked at noon");
  EXPECT_EQ(bench.status().guest_note, "the guest panicked at noon");
  EXPECT_EQ(bench.status().ended, "");
}

TEST_F(NodeGuestHolder, WhenKvmGivesUpThePeerIsShownIt) {
  bench.become_protected();
  bench.feed(input::GuestBroken{"suberror 1"});
  ASSERT_FALSE(bench.sent.evidence.empty());
  EXPECT_EQ(bench.sent.evidence.back().path, ProbePath::kMachine);
  EXPECT_EQ(bench.sent.evidence.back().health, Health::kFailed);
  EXPECT_FALSE(bench.ever<action::RecoverGuest>()) << "the peer goes on from the last epoch";
  EXPECT_FALSE(bench.status().is_protected);
  bench.speaking = false;
  bench.run(3000);
  EXPECT_FALSE(bench.ever<action::Propose>()) << "a host that is sick does not ask to go on alone";
  EXPECT_THAT(bench.status().why, HasSubstr("KVM gave up"));
  bench.feed(input::Command{CommandId{1}, CommandKind::kStart});
  EXPECT_TRUE(bench.last<action::RestartGuest>()) << "but an operator may decide";
}

TEST_F(NodeGuestHolder, AloneItIsTreatedAsACrash) {
  bench.become_solo();
  bench.feed(input::GuestBroken{"suberror 1"});
  EXPECT_TRUE(bench.ever<action::RecoverGuest>());
  bench.feed(input::GuestRunning{bench.status().term});
  EXPECT_TRUE(bench.status().guest_runs);
  bench.feed(input::GuestBroken{"suberror 1"});
  bench.feed(input::GuestStopped{"KVM gave up on the guest at noon, and stays down"});
  EXPECT_TRUE(bench.status().end_settled);
}

TEST_F(NodeGuestHolder, APeerThatLostItsImageIsNotWaitedFor) {
  bench.become_protected();
  bench.feed(input::GuestBroken{"suberror 1"});
  EXPECT_FALSE(bench.ever<action::RecoverGuest>());
  bench.peer_incarnation = Incarnation{bench.peer_incarnation.raw() + 1};
  bench.run(300);
  EXPECT_TRUE(bench.ever<action::RecoverGuest>());
}

class NodeGuestSecondary : public testing::Test {
 protected:
  NodeGuestSecondary() : bench{NodeId::kB} { bench.become_whole(); }
  void commit(std::uint64_t epoch, const std::string& ended) {
    bench.feed(input::EpochCommitted{Session{9}, {Term{2}, Epoch{epoch}}, ended});
  }
  ArbiterRecord pair_record() const { return NodeBench::record(Term{2}, bench.peer(), {bench.peer(), bench.self()}); }
  NodeBench bench;
};

TEST_F(NodeGuestSecondary, NothingRevivesAGuestThatIsOver) {
  struct Case {
    const char* name;
    std::function<void(NodeBench&)> happens;
  };
  const Case cases[] = {
      {"silence", [](NodeBench& b) { b.speaking = false; }},
      {"a restart of the primary",
       [](NodeBench& b) {
         b.peer_incarnation = Incarnation{303};
         b.saying.role = Role::kSecondary;
       }},
      {"a fenced primary", [](NodeBench& b) { b.saying.role = Role::kFenced; }},
      {"a failed path",
       [](NodeBench& b) {
         b.saying.evidence = {{ProbePath::kStorage, Health::kFailed, {}, "dead"}};
       }},
      {"no epochs", [](NodeBench&) {}},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.name);
    NodeBench b{NodeId::kB};
    b.become_whole();
    b.feed(input::EpochCommitted{Session{9}, {Term{2}, Epoch{6}}, kOff});
    EXPECT_EQ(b.status().ended, kOff);
    EXPECT_TRUE(b.status().end_settled);
    ASSERT_TRUE(b.ever<action::PersistEnd>());
    b.all.clear();
    one.happens(b);
    b.run(5000);
    EXPECT_FALSE(b.ever<action::ReadArbiter>());
    EXPECT_FALSE(b.ever<action::PersistPromise>());
    EXPECT_FALSE(b.ever<action::Propose>());
  }
}

TEST_F(NodeGuestSecondary, AGuestThatWasStartedAgainIsTakenOver) {
  commit(6, kOff);
  commit(7, "");
  EXPECT_EQ(bench.status().ended, "");
  EXPECT_EQ(bench.ever<action::PersistEnd>()->ended, "");
  bench.speaking = false;
  bench.run(450);
  EXPECT_TRUE(bench.ever<action::ReadArbiter>());
}

TEST_F(NodeGuestSecondary, AnEndThatArrivesDuringTheCandidacyEndsIt) {
  bench.speaking = false;
  bench.run(450);
  bench.answer(pair_record());
  ASSERT_TRUE(bench.last<action::PersistPromise>());
  commit(6, kOff);
  bench.feed(input::PromisePersisted{Term{3}});
  bench.run(2000);
  EXPECT_FALSE(bench.ever<action::Propose>());
}

TEST_F(NodeGuestSecondary, AnEndThatArrivesWithTheGrantStaysOne) {
  bench.speaking = false;
  bench.run(450);
  bench.answer(pair_record());
  bench.feed(input::PromisePersisted{Term{3}});
  ASSERT_TRUE(bench.last<action::Propose>());
  commit(6, kOff);
  bench.grant(Term{3}, {bench.self()});
  bench.persist(Term{3});
  ASSERT_TRUE(bench.last<action::TakeOver>());
  EXPECT_FALSE(bench.last<action::TakeOver>()->start);
  bench.feed(input::GuestStopped{kOff});
  EXPECT_EQ(bench.status().role, Role::kSolo);
  EXPECT_FALSE(bench.status().guest_runs);
  EXPECT_TRUE(bench.status().end_settled);
}

TEST_F(NodeGuestSecondary, AnOperatorStartsItHereWhenItsHolderIsGone) {
  const auto sentence = [&] { return bench.ever<action::CommandResult>() ? bench.ever<action::CommandResult>()->sentence : ""; };
  bench.feed(input::Command{CommandId{1}, CommandKind::kStart});
  EXPECT_THAT(sentence(), HasSubstr("not over"));
  commit(6, kOff);
  bench.feed(input::Command{CommandId{2}, CommandKind::kTakeover});
  EXPECT_THAT(sentence(), HasSubstr("understudy start"));
  bench.feed(input::Command{CommandId{3}, CommandKind::kStart});
  EXPECT_THAT(sentence(), HasSubstr("start it there"));
  bench.speaking = false;
  bench.run(600);
  bench.all.clear();
  bench.feed(input::Command{CommandId{4}, CommandKind::kStart});
  ASSERT_TRUE(bench.last<action::ReadArbiter>());
  bench.answer(pair_record());
  bench.feed(input::PromisePersisted{Term{3}});
  ASSERT_TRUE(bench.last<action::Propose>());
  bench.grant(Term{3}, {bench.self()});
  bench.persist(Term{3});
  ASSERT_TRUE(bench.last<action::TakeOver>());
  EXPECT_TRUE(bench.last<action::TakeOver>()->start);
  bench.feed(input::GuestRunning{Term{3}});
  EXPECT_TRUE(bench.ever<action::CommandResult>()->ok);
  EXPECT_EQ(bench.status().ended, "");
}

TEST_F(NodeGuestSecondary, KvmsFailureOnTheOtherHostIsTakenOverOnce) {
  bench.saying.evidence = {{ProbePath::kMachine, Health::kFailed, {}, "suberror 1"}};
  bench.run_committing(300, 6);
  ASSERT_TRUE(bench.ever<action::ReadArbiter>());
  bench.answer(pair_record());
  bench.feed(input::PromisePersisted{Term{3}});
  bench.grant(Term{3}, {bench.self()});
  bench.persist(Term{3});
  ASSERT_TRUE(bench.ever<action::TakeOver>());
  bench.feed(input::GuestRunning{Term{3}});
  // The peer comes back and is protected; then KVM gives up here, too: no third host would do better.
  bench.saying = {};
  bench.saying.role = Role::kSecondary;
  bench.run(400);
  bench.session_up();
  bench.committed(20);
  bench.feed(input::GateSet{bench.gate_order, Epoch{21}});
  bench.committed(21);
  bench.grant(Term{4}, {bench.self(), bench.peer()});
  bench.persist(Term{4});
  ASSERT_EQ(bench.status().role, Role::kPrimary);
  bench.feed(input::GuestBroken{"suberror 1"});
  EXPECT_TRUE(bench.ever<action::RecoverGuest>());
}

TEST(NodeGuestStart, ARestartedNodeStillKnowsThatTheGuestIsOver) {
  NodeBench bench;
  bench.feed(input::Started{bench.self(), Term{2}, Term{}, {}, kOff});
  bench.answer(NodeBench::record(Term{2}, {NodeId::kA, Incarnation{55}}, {{NodeId::kA, Incarnation{55}}}));
  EXPECT_EQ(bench.status().role, Role::kFenced);
  EXPECT_EQ(bench.status().ended, kOff);
  EXPECT_THAT(bench.status().why, HasSubstr(kOff));
  EXPECT_FALSE(bench.ever<action::BootGuest>());
}

}  // namespace
}  // namespace understudy
