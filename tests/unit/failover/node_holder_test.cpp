// The node that boots, holds, protects, goes on alone, and hands over.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/failover/node_bench.h"

namespace understudy {
namespace {

using testing::HasSubstr;

TEST(NodeStart, NewPairIsBootedOnTheArbitersGrantWithItsTermStored) {
  NodeBench bench;
  bench.start();
  ASSERT_TRUE(bench.last<action::ReadArbiter>());
  bench.answer(std::nullopt);
  EXPECT_FALSE(bench.ever<action::Propose>()) << "the peer has not said yet that it is new, too";
  bench.hear();
  ASSERT_TRUE(bench.last<action::Propose>());
  EXPECT_EQ(bench.proposal.kind, ProposalKind::kBootstrap);
  bench.grant(Term{1}, {bench.self()});
  ASSERT_TRUE(bench.last<action::PersistTerm>());
  EXPECT_FALSE(bench.ever<action::BootGuest>()) << "the term is not stored yet";
  bench.persist(Term{1});
  ASSERT_TRUE(bench.last<action::BootGuest>());
  EXPECT_LT(bench.place<action::SetGate>(), bench.place<action::BootGuest>());
  EXPECT_EQ(bench.last<action::SetGate>()->mode, GateMode::kSolo);
  bench.feed(input::GuestRunning{Term{1}});
  EXPECT_EQ(bench.status().role, Role::kSolo);
  EXPECT_TRUE(bench.status().guest_runs);
}

TEST(NodeStart, HistoryForbidsABootstrap) {
  for (const bool ours : {true, false}) {
    NodeBench bench;
    bench.saying.has_history = !ours;
    bench.start(ours ? Term{3} : Term{});
    bench.hear();
    bench.answer(std::nullopt);
    bench.run(500);
    EXPECT_FALSE(bench.ever<action::Propose>());
    EXPECT_EQ(bench.status().role, Role::kStarting);
  }
}

TEST(NodeStart, AloneAsksNobody) {
  NodeConfig config;
  config.alone = true;
  NodeBench bench{NodeId::kA, config};
  bench.start();
  bench.answer(std::nullopt);
  EXPECT_EQ(bench.proposal.kind, ProposalKind::kBootstrap);
  EXPECT_TRUE(bench.last<action::Propose>());
}

TEST(NodeStart, RestartLosesTheImage) {
  const NodeIncarnation before{NodeId::kA, Incarnation{77}};
  NodeBench pair;
  pair.start(Term{2});
  pair.answer(NodeBench::record(Term{2}, before, {before, pair.peer()}));
  EXPECT_EQ(pair.status().role, Role::kSecondary);
  EXPECT_THAT(pair.status().why, HasSubstr("lost"));
  EXPECT_EQ(pair.last<action::AcceptSessions>()->floor, Term{2}) << "this node has acted in term 2";

  NodeBench solo;
  solo.start(Term{2});
  solo.answer(NodeBench::record(Term{2}, before, {before}));
  EXPECT_EQ(solo.status().role, Role::kFenced);
}

TEST(NodeProtect, WaitsForTheGateThenForAllThatLeftBefore) {
  NodeBench bench;
  bench.become_solo();
  ASSERT_TRUE(bench.ever<action::StartSession>());
  EXPECT_EQ(bench.ever<action::StartSession>()->peer, bench.peer());
  bench.session_up();
  bench.committed(5);
  ASSERT_TRUE(bench.last<action::SetGate>());
  EXPECT_EQ(bench.last<action::SetGate>()->mode, GateMode::kPair);
  EXPECT_EQ(bench.last<action::SetGate>()->peer, kTheirs);
  const std::uint64_t order = bench.gate_order;
  bench.feed(input::GateSet{order - 1, Epoch{1}});  // of an earlier order
  bench.committed(6);
  EXPECT_EQ(bench.proposal.kind, ProposalKind::kBootstrap) << "nothing new is proposed";
  bench.feed(input::GateSet{order, Epoch{8}});
  bench.committed(7);
  EXPECT_EQ(bench.proposal.kind, ProposalKind::kBootstrap) << "a frame of epoch 8 may have left";
  bench.committed(8);
  ASSERT_EQ(bench.proposal.kind, ProposalKind::kReprotect);
  EXPECT_EQ(bench.proposal.peer, bench.peer());
  bench.grant(Term{2}, {bench.self(), bench.peer()});
  EXPECT_EQ(bench.status().term, Term{1}) << "not stored yet";
  bench.persist(Term{2});
  EXPECT_EQ(bench.last<action::RaiseSessionTerm>()->term, Term{2});
  EXPECT_EQ(bench.last<action::SetGate>()->term, Term{2});
  EXPECT_TRUE(bench.status().is_protected);
}

TEST(NodeProtect, UnansweredRequestForbidsSoloOutput) {
  NodeBench bench;
  bench.become_solo();
  bench.session_up();
  bench.committed(1);
  bench.feed(input::GateSet{bench.gate_order, Epoch{1}});
  bench.committed(2);
  ASSERT_EQ(bench.proposal.kind, ProposalKind::kReprotect);
  bench.all.clear();
  bench.feed(input::SessionBroken{"gone"});
  EXPECT_FALSE(bench.ever<action::SetGate>()) << "the peer may have become eligible";
  EXPECT_EQ(bench.proposal.kind, ProposalKind::kRenew);
  bench.grant(Term{2}, {bench.self()});
  bench.persist(Term{2});
  EXPECT_EQ(bench.last<action::SetGate>()->mode, GateMode::kSolo);
  EXPECT_EQ(bench.last<action::SetGate>()->term, Term{2});
}

TEST(NodeProtect, ASessionThatBreaksBeforeTheRequestGoesBackToSolo) {
  NodeBench bench;
  bench.become_solo();
  bench.session_up();
  bench.committed(1);
  bench.feed(input::SessionBroken{"gone"});
  EXPECT_EQ(bench.last<action::SetGate>()->mode, GateMode::kSolo);
  EXPECT_EQ(bench.last<action::SetGate>()->term, Term{1});
}

struct ProofCase {
  const char* name;
  Health nic;
  Health storage;
  bool started_after;  // storage's probe began after the break was noticed
  bool asks;
};

TEST(NodeSolo, OnlyWithProofFromAfterTheBreak) {
  const ProofCase cases[] = {
      {"both well, after", Health::kHealthy, Health::kHealthy, true, true},
      {"degraded still carries the guest", Health::kHealthy, Health::kDegraded, true, true},
      {"one from before", Health::kHealthy, Health::kHealthy, false, false},
      {"nic failed", Health::kFailed, Health::kHealthy, true, false},
      {"storage failed", Health::kHealthy, Health::kFailed, true, false},
      {"unknown is no proof", Health::kHealthy, Health::kUnknown, true, false},
  };
  for (const ProofCase& one : cases) {
    NodeBench bench;
    bench.become_protected();
    bench.speaking = bench.probing = false;
    bench.run(330);  // longer than solo_after since the last echo
    EXPECT_FALSE(bench.ever<action::Propose>()) << one.name;
    const Instant before = bench.now() - std::chrono::milliseconds{300};
    bench.run(10);
    bench.probe(ProbePath::kServiceNic, one.nic, bench.now());
    bench.probe(ProbePath::kStorage, one.storage, one.started_after ? bench.now() : before);
    bench.run(10);
    EXPECT_EQ(bench.ever<action::Propose>().has_value(), one.asks) << one.name;
    if (one.asks) {
      EXPECT_EQ(bench.proposal.kind, ProposalKind::kSolo) << one.name;
    }
    EXPECT_EQ(bench.status().gate, GateMode::kPair) << one.name << ": output waits until it is granted";
  }
}

// It may be this host's fault that nothing is heard, and it can't tell: a peer that is well is left the time to ask.
TEST(NodeSolo, AHostThatSuspectsItselfWaitsAndThenGoesOn) {
  NodeBench bench;
  bench.become_protected();
  bench.probing = false;
  bench.speaking = false;
  const auto run_suspecting = [&bench](int ms) {
    for (int done = 0; done < ms; done += 50) {
      ProbeReport nic{ProbePath::kServiceNic, Health::kDegraded, bench.now(), bench.now(), "no echo"};
      nic.suspected = nic.beyond = true;
      bench.feed(input::Probed{nic});
      bench.probe(ProbePath::kStorage, Health::kHealthy, bench.now());
      bench.run(50);
    }
  };
  run_suspecting(1700);
  EXPECT_FALSE(bench.ever<action::Propose>());
  EXPECT_THAT(bench.status().why, HasSubstr("service NIC suspected: no echo; leaves a peer that is well the time to take over"));
  run_suspecting(400);
  ASSERT_TRUE(bench.ever<action::Propose>());
  EXPECT_EQ(bench.proposal.kind, ProposalKind::kSolo);
}

TEST(NodeSolo, AcksAreSignsOfLife) {
  NodeBench bench;
  bench.become_protected();
  bench.speaking = false;
  for (std::uint64_t epoch = 3; epoch < 40; ++epoch) {
    bench.committed(epoch);
    bench.run(20);
  }
  EXPECT_FALSE(bench.ever<action::Propose>());
}

TEST(NodeSolo, ARestartedPeerHasLostItsImage) {
  NodeBench bench;
  bench.become_protected();
  bench.peer_incarnation = Incarnation{303};
  bench.run(150);
  ASSERT_TRUE(bench.ever<action::Propose>());
  EXPECT_EQ(bench.proposal.kind, ProposalKind::kSolo);
  bench.grant(Term{3}, {bench.self()});
  bench.persist(Term{3});
  EXPECT_EQ(bench.last<action::SetGate>()->mode, GateMode::kSolo);
  EXPECT_TRUE(bench.last<action::StopSession>());
  bench.run(50);
  ASSERT_TRUE(bench.ever<action::StartSession>());
  EXPECT_EQ(bench.ever<action::StartSession>()->peer.incarnation, Incarnation{303});
}

TEST(NodeSolo, ABrokenSessionIsFirstStartedAgain) {
  NodeBench bench;
  bench.become_protected();
  bench.feed(input::SessionBroken{"no ack"});
  bench.run(400);
  ASSERT_TRUE(bench.ever<action::StartSession>());
  EXPECT_FALSE(bench.ever<action::StopSession>()) << "it would forget what the peer lacks";
  EXPECT_FALSE(bench.ever<action::Propose>());
  bench.feed(input::SessionBroken{"again"});
  bench.run(2000);
  EXPECT_EQ(bench.proposal.kind, ProposalKind::kSolo);
}

TEST(NodeHolder, APeerThatPromisedMoreIsRenewedOverAfterAWhile) {
  NodeBench bench;
  bench.become_protected();
  bench.saying.promise = Term{5};
  bench.run(200);
  EXPECT_FALSE(bench.ever<action::Propose>()) << "it is left the time to take over";
  bench.run(200);
  ASSERT_EQ(bench.proposal.kind, ProposalKind::kRenew);
  EXPECT_EQ(bench.proposal.at_least, Term{5});
  bench.grant(Term{5}, {bench.self(), bench.peer()});
  bench.persist(Term{5});
  EXPECT_EQ(bench.last<action::RaiseSessionTerm>()->term, Term{5});
}

TEST(NodeHolder, ASickHostLeavesTheGuestToAPeerThatPromisedMore) {
  NodeBench bench;
  bench.become_protected();
  bench.probing = false;
  bench.probe_all(Health::kFailed);
  bench.saying.promise = Term{5};
  bench.run(600);
  EXPECT_FALSE(bench.ever<action::Propose>());
}

TEST(NodeHolder, SupersededIsMuteBeforeAnythingElse) {
  NodeBench bench;
  bench.become_protected();
  bench.saying.role = Role::kSolo;
  bench.saying.term = Term{3};
  bench.hear();
  EXPECT_EQ(bench.status().role, Role::kFenced);
  EXPECT_EQ(bench.last<action::SetGate>()->mode, GateMode::kMute);
  EXPECT_LT(bench.place<action::SetGate>(), bench.place<action::StopGuest>());
  EXPECT_THAT(bench.status().why, HasSubstr("term 3"));
  bench.run(5000);
  EXPECT_FALSE(bench.ever<action::Rejoin>()) << "only where configured";
}

TEST(NodeHolder, AnOldPrimaryIsToldAndTheSegment) {
  NodeBench bench;
  bench.become_protected();
  bench.run(2000);
  bench.saying.role = Role::kPrimary;
  bench.saying.term = Term{1};
  bench.hear();
  EXPECT_TRUE(bench.last<action::AnnounceAddress>());
  EXPECT_TRUE(bench.last<action::SendHeartbeat>());
  bench.hear();
  EXPECT_FALSE(bench.last<action::AnnounceAddress>()) << "once a second";
}

TEST(NodeGap, HoldsUntilARoundTripFromAfterItConfirms) {
  NodeBench bench;
  bench.become_protected();
  bench.speaking = false;
  const AskId old_ask = bench.ask;
  bench.feed(input::LoopGap{std::chrono::seconds{10}});
  EXPECT_EQ(bench.actions.size() > 1 && std::holds_alternative<action::SetGate>(bench.actions[1]), true) << "first of all, after the log";
  EXPECT_EQ(bench.last<action::SetGate>()->mode, GateMode::kHold);
  EXPECT_TRUE(bench.status().holds_output);
  ASSERT_TRUE(bench.last<action::ReadArbiter>());
  const ArbiterRecord record = NodeBench::record(Term{2}, bench.self(), {bench.self(), bench.peer()});
  bench.feed(input::ArbiterAnswered{old_ask, {false, record, StoreId{1}, ""}});
  EXPECT_EQ(bench.status().gate, GateMode::kHold) << "asked before the gap";
  bench.answer(record);
  EXPECT_EQ(bench.last<action::SetGate>()->mode, GateMode::kPair);
}

TEST(NodeGap, TheEligiblePeersFreshWordConfirmsToo) {
  NodeBench bench;
  bench.become_protected();
  const Heartbeat before = bench.sent;
  bench.feed(input::LoopGap{std::chrono::seconds{10}});
  std::swap(bench.sent, const_cast<Heartbeat&>(before));
  bench.hear();
  EXPECT_EQ(bench.status().gate, GateMode::kHold) << "echoes what was sent before the gap";
  std::swap(bench.sent, const_cast<Heartbeat&>(before));
  bench.hear();
  EXPECT_EQ(bench.status().gate, GateMode::kPair);
}

TEST(NodeGap, IsSeenByItselfAndFencesTheSuperseded) {
  NodeBench bench;
  bench.become_protected();
  bench.speaking = false;
  bench.jump(10'000);
  bench.feed(input::Tick{});
  EXPECT_EQ(bench.status().gate, GateMode::kHold);
  EXPECT_EQ(bench.proposal.kind, ProposalKind::kReprotect) << "the gap is no silence of the peer";
  bench.answer(NodeBench::record(Term{3}, bench.peer(), {bench.peer()}));
  EXPECT_EQ(bench.status().role, Role::kFenced);
  EXPECT_TRUE(bench.last<action::StopGuest>());
}

TEST(NodeHolder, AnOlderRecordChangesNothing) {
  NodeBench bench;
  bench.become_protected();
  bench.feed(input::LoopGap{std::chrono::seconds{1}});
  bench.answer(NodeBench::record(Term{1}, bench.peer(), {bench.peer()}));
  EXPECT_EQ(bench.status().role, Role::kPrimary);
}

TEST(NodeHolder, AFailingStoreIsAskedAgain) {
  NodeBench bench;
  bench.become_protected();
  bench.peer_incarnation = Incarnation{303};
  bench.run(150);
  bench.grant(Term{3}, {bench.self()});
  bench.feed(input::StoreFailed{"disk hangs"});
  bench.all.clear();
  bench.run(300);
  EXPECT_FALSE(bench.ever<action::PersistTerm>());
  bench.run(300);
  ASSERT_TRUE(bench.ever<action::PersistTerm>());
  EXPECT_EQ(bench.status().term, Term{2}) << "nothing is acted on before";
  bench.persist(Term{3});
  EXPECT_EQ(bench.status().role, Role::kSolo);
}

class NodeSwitchover : public testing::Test {
 protected:
  NodeSwitchover() : bench{NodeId::kA, config()} { bench.become_protected(); }
  static NodeConfig config() {
    NodeConfig config;
    config.switchover_keeps_image = true;
    return config;
  }
  void offer() {
    bench.feed(input::Command{CommandId{4}, CommandKind::kSwitchover});
    ASSERT_TRUE(bench.last<action::ReadArbiter>());
    ASSERT_FALSE(bench.ever<action::FinishGuest>()) << "not before the arbiter has shown that it lives";
    bench.answer(NodeBench::record(Term{2}, bench.self(), {bench.self(), bench.peer()}));
    ASSERT_TRUE(bench.last<action::FinishGuest>());
    bench.feed(input::HandoverFinished{{Term{2}, Epoch{9}}});
    ASSERT_EQ(bench.sent.handover, (HandoverOffer{Term{2}, {Term{2}, Epoch{9}}}));
  }
  NodeBench bench;
};

TEST_F(NodeSwitchover, OldPrimaryBecomesSecondaryWithItsImage) {
  offer();
  bench.saying.role = Role::kPrimary;
  bench.saying.term = Term{3};
  bench.saying.eligible_peer = kOurs;
  bench.hear();
  EXPECT_TRUE(bench.last<action::CommandResult>()->ok);
  EXPECT_EQ(bench.status().role, Role::kSecondary);
  EXPECT_TRUE(bench.status().image_whole);
  ASSERT_TRUE(bench.last<action::AcceptSessions>());
  EXPECT_TRUE(bench.last<action::AcceptSessions>()->keep_image);
  EXPECT_FALSE(bench.ever<action::StopGuest>());
  EXPECT_EQ(bench.last<action::SetGate>()->mode, GateMode::kMute);
}

TEST_F(NodeSwitchover, RefusedByAPeerThatPromisedNothingTheGuestGoesOnAtOnce) {
  offer();
  bench.saying.refusal = "storage failed";
  bench.hear();
  EXPECT_EQ(bench.last<action::ResumeGuest>()->term, Term{2});
  EXPECT_FALSE(bench.last<action::CommandResult>()->ok);
  EXPECT_THAT(bench.last<action::CommandResult>()->sentence, HasSubstr("storage failed"));
}

TEST_F(NodeSwitchover, WithoutAnAnswerTheRecordDecides) {
  offer();
  bench.saying.promise = Term{3};
  bench.run(3100);
  EXPECT_FALSE(bench.ever<action::ResumeGuest>()) << "the peer may have been granted the guest";
  ASSERT_EQ(bench.proposal.kind, ProposalKind::kRenew);
  bench.grant(Term{3}, {bench.self(), bench.peer()});
  bench.persist(Term{3});
  EXPECT_EQ(bench.last<action::ResumeGuest>()->term, Term{3});
}

TEST_F(NodeSwitchover, WithoutAnAnswerAndLost) {
  offer();
  bench.run(3100);
  ASSERT_EQ(bench.proposal.kind, ProposalKind::kRenew);
  bench.answer(NodeBench::record(Term{3}, bench.peer(), {bench.peer(), bench.self()}), false, "term is 3");
  EXPECT_EQ(bench.status().role, Role::kSecondary);
  EXPECT_TRUE(bench.status().image_whole);
  EXPECT_FALSE(bench.ever<action::ResumeGuest>());
}

TEST_F(NodeSwitchover, ALateAnswerOfTheArbiterDoesNotBringTheOldTermBack) {
  offer();
  bench.saying.role = Role::kPrimary;
  bench.saying.term = Term{3};
  bench.saying.eligible_peer = kOurs;
  bench.hear();
  ASSERT_EQ(bench.status().role, Role::kSecondary);
  bench.all.clear();
  for (int i = 0; i < 2; ++i) {
    bench.answer(NodeBench::record(Term{2}, bench.self(), {bench.self(), bench.peer()}));
    EXPECT_EQ(bench.status().role, Role::kSecondary);
    EXPECT_FALSE(bench.ever<action::TakeOver>());
    bench.persist(Term{3});  // and once more when the new term is stored
  }
}

TEST_F(NodeSwitchover, ASessionThatEndsMeanwhileEndsItToo) {
  bench.feed(input::Command{CommandId{4}, CommandKind::kSwitchover});
  bench.answer(NodeBench::record(Term{2}, bench.self(), {bench.self(), bench.peer()}));
  bench.feed(input::SessionBroken{"no ack"});
  EXPECT_TRUE(bench.last<action::ResumeGuest>());
  EXPECT_FALSE(bench.last<action::CommandResult>()->ok);
  bench.feed(input::HandoverFinished{{Term{2}, Epoch{9}}});
  EXPECT_FALSE(bench.sent.handover.has_value()) << "too late";
}

TEST(NodeCommands, RefusalsSayWhy) {
  NodeBench solo;
  solo.become_solo();
  solo.feed(input::Command{CommandId{1}, CommandKind::kSwitchover});
  EXPECT_THAT(solo.last<action::CommandResult>()->sentence, HasSubstr("this node is solo"));
  solo.feed(input::Command{CommandId{2}, CommandKind::kTakeover});
  EXPECT_THAT(solo.last<action::CommandResult>()->sentence, HasSubstr("this node is solo"));
  NodeBench protected_pair;
  protected_pair.become_protected();
  protected_pair.saying.image_whole = false;
  protected_pair.hear();
  protected_pair.feed(input::Command{CommandId{3}, CommandKind::kSwitchover});
  EXPECT_THAT(protected_pair.last<action::CommandResult>()->sentence, HasSubstr("whole image"));
  EXPECT_FALSE(protected_pair.last<action::CommandResult>()->ok);
}

}  // namespace
}  // namespace understudy
