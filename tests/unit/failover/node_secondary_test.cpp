// The node that holds the image: when it takes over, and in which order.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/failover/node_bench.h"

namespace understudy {
namespace {

using testing::HasSubstr;

class NodeTakeover : public testing::Test {
 protected:
  NodeTakeover() : bench{NodeId::kB} { bench.become_whole(); }
  ArbiterRecord pair_record() const { return NodeBench::record(Term{2}, bench.peer(), {bench.peer(), bench.self()}); }
  // The primary falls silent, and the arbiter answers: the promise is on its way to the store.
  void until_promise() {
    bench.speaking = false;
    bench.run(450);
    ASSERT_TRUE(bench.ever<action::ReadArbiter>());
    bench.answer(pair_record());
    ASSERT_TRUE(bench.last<action::PersistPromise>());
    ASSERT_EQ(bench.last<action::PersistPromise>()->promise, Term{3});
    ASSERT_FALSE(bench.ever<action::Propose>()) << "the promise is not stored yet";
  }
  NodeBench bench;
};

TEST_F(NodeTakeover, EachStepWaitsForTheOneBefore) {
  until_promise();
  bench.feed(input::PromisePersisted{Term{3}});
  ASSERT_TRUE(bench.last<action::Propose>());
  EXPECT_EQ(bench.proposal.kind, ProposalKind::kTakeover);
  EXPECT_EQ(bench.proposal.expected_term, Term{2});
  EXPECT_EQ(bench.proposal.proposer, bench.self());
  bench.grant(Term{3}, {bench.self()});
  EXPECT_TRUE(bench.last<action::RefuseSessions>()) << "no epoch commits after the grant";
  ASSERT_TRUE(bench.last<action::PersistTerm>());
  EXPECT_FALSE(bench.ever<action::TakeOver>());
  bench.persist(Term{3});
  EXPECT_EQ(bench.last<action::SetGate>()->mode, GateMode::kSolo);
  EXPECT_LT(bench.place<action::SetGate>(), bench.place<action::TakeOver>());
  EXPECT_EQ(bench.last<action::TakeOver>()->term, Term{3});
  bench.feed(input::GuestRunning{Term{3}});
  EXPECT_TRUE(bench.last<action::AnnounceAddress>());
  EXPECT_EQ(bench.status().role, Role::kSolo);
}

TEST_F(NodeTakeover, TimelineNamesEachStep) {
  until_promise();
  bench.feed(input::PromisePersisted{Term{3}});
  bench.grant(Term{3}, {bench.self()});
  bench.persist(Term{3});
  std::vector<action::Milestone> seen;
  for (const Action& one : bench.all)
    if (const auto* mark = std::get_if<action::Timeline>(&one)) seen.push_back(mark->milestone);
  using enum action::Milestone;
  EXPECT_THAT(seen, testing::ElementsAre(kDetected, kArbiterReached, kPromised, kGranted, kTermStored));
}

TEST_F(NodeTakeover, ALostReplyIsSettledByItsRequestId) {
  until_promise();
  bench.feed(input::PromisePersisted{Term{3}});
  const RequestId request = bench.proposal.request;
  bench.all.clear();
  bench.run(250);
  ASSERT_TRUE(bench.ever<action::Propose>()) << "repeated";
  EXPECT_EQ(bench.ever<action::Propose>()->proposal.request, request);
  // The primary is back: no longer urged, and yet it must be known what became of it.
  bench.speaking = true;
  bench.saying.term = Term{2};
  bench.run(100);
  bench.all.clear();
  bench.run(200);
  EXPECT_FALSE(bench.ever<action::Propose>());
  ASSERT_TRUE(bench.ever<action::ReadArbiter>());
  bench.answer(NodeBench::record(Term{3}, bench.self(), {bench.self()}, request));
  ASSERT_TRUE(bench.last<action::PersistTerm>()) << "it was granted";
}

TEST_F(NodeTakeover, TheRecordMayMoveOnBeforeTheProposal) {
  until_promise();
  bench.feed(
      input::ArbiterAnswered{bench.ask, {false, NodeBench::record(Term{4}, bench.peer(), {bench.peer(), bench.self()}), StoreId{1}, ""}});
  bench.feed(input::PromisePersisted{Term{3}});
  EXPECT_FALSE(bench.ever<action::Propose>()) << "term 5 is not promised";
  EXPECT_EQ(bench.last<action::PersistPromise>()->promise, Term{5});
  bench.feed(input::PromisePersisted{Term{5}});
  ASSERT_TRUE(bench.last<action::Propose>());
  EXPECT_EQ(bench.proposal.expected_term, Term{4});
}

// The primary goes on alone while its secondary, to whom no epochs come either, asks for the record: the answer from before is old news.
TEST(NodeFirstTakeover, AnAnswerOvertakenByThePrimarysWordIsNoGround) {
  NodeBench bench{NodeId::kB};
  bench.saying.role = Role::kPrimary;
  bench.saying.term = Term{2};
  bench.start();
  bench.hear();
  bench.answer(std::nullopt);  // a new pair: this node has seen no record yet
  ASSERT_EQ(bench.status().role, Role::kSecondary);
  bench.feed(input::SessionUp{Session{9}, Term{2}, bench.peer_incarnation});
  bench.feed(input::ImageOverwritten{});
  bench.feed(input::EpochCommitted{Session{9}, {Term{2}, Epoch{5}}});
  bench.persist(Term{2});
  bench.all.clear();
  bench.run(1600);
  ASSERT_TRUE(bench.ever<action::ReadArbiter>()) << bench.status().why;
  bench.saying.role = Role::kSolo;
  bench.saying.term = Term{3};
  bench.hear();
  bench.answer(NodeBench::record(Term{2}, bench.peer(), {bench.peer(), bench.self()}));
  EXPECT_FALSE(bench.ever<action::PersistPromise>());
  bench.run(100);
  bench.answer(NodeBench::record(Term{3}, bench.peer(), {bench.peer()}));
  EXPECT_FALSE(bench.ever<action::PersistPromise>());
  EXPECT_THAT(bench.status().why, HasSubstr("not eligible"));
}

TEST_F(NodeTakeover, AnOverwrittenImageIsNoCandidate) {
  until_promise();
  bench.feed(input::ImageOverwritten{});
  bench.feed(input::PromisePersisted{Term{3}});
  bench.run(2000);
  EXPECT_FALSE(bench.ever<action::Propose>());
}

TEST_F(NodeTakeover, AStoreThatFailsKeepsItFromAsking) {
  until_promise();
  bench.feed(input::StoreFailed{"disk hangs"});
  bench.all.clear();
  bench.run(450);
  EXPECT_FALSE(bench.ever<action::PersistPromise>());
  bench.run(100);
  EXPECT_TRUE(bench.ever<action::PersistPromise>());
  EXPECT_FALSE(bench.ever<action::Propose>());
}

TEST_F(NodeTakeover, StruckMeansWaiting) {
  bench.speaking = false;
  bench.run(450);
  bench.answer(NodeBench::record(Term{3}, bench.peer(), {bench.peer()}));
  bench.run(3000);
  EXPECT_FALSE(bench.ever<action::PersistPromise>());
  EXPECT_FALSE(bench.ever<action::Propose>());
  EXPECT_THAT(bench.status().why, HasSubstr("not eligible"));
}

TEST_F(NodeTakeover, Denied) {
  until_promise();
  bench.feed(input::PromisePersisted{Term{3}});
  bench.answer(NodeBench::record(Term{3}, bench.peer(), {bench.peer()}), false, "the term is 3");
  EXPECT_EQ(bench.status().role, Role::kSecondary);
  EXPECT_FALSE(bench.ever<action::TakeOver>());
  EXPECT_FALSE(bench.ever<action::RefuseSessions>());
}

TEST_F(NodeTakeover, AHealthyPrimaryIsLeftAlone) {
  bench.run_committing(3000, 6);
  EXPECT_FALSE(bench.ever<action::ReadArbiter>());
}

TEST_F(NodeTakeover, HeartbeatsWithoutEpochsAreNotEnough) {
  bench.run(1300);
  EXPECT_FALSE(bench.ever<action::ReadArbiter>());
  bench.run(300);
  EXPECT_TRUE(bench.ever<action::ReadArbiter>());
  EXPECT_THAT(bench.status().why, HasSubstr("no epoch committed"));
}

TEST_F(NodeTakeover, PartsOfAnEpochAreSignsOfLife) {
  bench.speaking = false;
  for (int i = 0; i < 50; ++i) {
    bench.feed(input::SessionActivity{});
    bench.run(20);
  }
  EXPECT_FALSE(bench.ever<action::ReadArbiter>());
}

TEST_F(NodeTakeover, AFailedPathIsTakenOverAfterAHold) {
  bench.saying.evidence = {{ProbePath::kServiceNic, Health::kFailed, {}, "eth1: gone"}, {ProbePath::kStorage, Health::kHealthy, {}, ""}};
  bench.run_committing(100, 6);
  EXPECT_FALSE(bench.ever<action::ReadArbiter>()) << "a flicker is no reason";
  bench.run_committing(250, 10);
  EXPECT_TRUE(bench.ever<action::ReadArbiter>());
  EXPECT_THAT(bench.status().why, HasSubstr("service NIC failed: eth1: gone"));
}

TEST_F(NodeTakeover, NotWhenOnesOwnPathHasFailedToo) {
  bench.probing = false;
  bench.probe_all(Health::kFailed);
  bench.speaking = false;
  bench.run(600);
  EXPECT_FALSE(bench.ever<action::ReadArbiter>());
  EXPECT_THAT(bench.status().why, HasSubstr("here, service NIC failed"));
  bench.probe_all(Health::kHealthy);
  bench.run(50);
  EXPECT_TRUE(bench.ever<action::ReadArbiter>());
}

PathEvidence suspicion(ProbePath path) { return {path, Health::kDegraded, std::chrono::milliseconds{5}, "simulated", true, false}; }

TEST(NodeSuspicion, CountsWhereThisNodeIsWell) {
  NodeConfig config;
  NodeBench bench{NodeId::kB, config};
  bench.become_whole();
  bench.saying.evidence = {suspicion(ProbePath::kStorage)};
  bench.run_committing(500, 6);
  ASSERT_TRUE(bench.ever<action::ReadArbiter>());
  EXPECT_EQ(bench.ever<action::Timeline>()->text, "the primary's storage failed: simulated");
}

TEST_F(NodeTakeover, ASuspicionThatThisNodeSharesMovesNothing) {
  bench.saying.evidence = {suspicion(ProbePath::kStorage)};
  bench.probing = false;
  for (int i = 0; i < 20; ++i) {
    ProbeReport own{ProbePath::kStorage, Health::kDegraded, bench.now(), bench.now(), "the same"};
    own.suspected = true;
    bench.feed(input::Probed{own});
    bench.probe(ProbePath::kServiceNic, Health::kHealthy, bench.now());
    bench.run_committing(50, 6);
  }
  EXPECT_FALSE(bench.ever<action::ReadArbiter>());
  EXPECT_EQ(bench.status().verdict_on_peer.text, "storage suspected: simulated");
  // ... but a primary that is silent is taken over by a node that only suspects itself.
  bench.speaking = false;
  bench.run(500);
  EXPECT_TRUE(bench.ever<action::ReadArbiter>());
}

TEST_F(NodeTakeover, AfterAMoveASickPrimaryKeepsTheGuestForAWhile) {
  bench.saying.just_moved = true;
  bench.saying.evidence = {{ProbePath::kServiceNic, Health::kFailed, std::chrono::milliseconds{5}, "no carrier"}};
  bench.run_committing(1000, 6);
  EXPECT_FALSE(bench.ever<action::ReadArbiter>());
  EXPECT_THAT(bench.status().why, HasSubstr("is sick (service NIC failed: no carrier): the guest moved there just now"));
  bench.saying.just_moved = false;
  bench.run_committing(300, 30);
  EXPECT_TRUE(bench.ever<action::ReadArbiter>()) << "the hold-down is over";
}

TEST_F(NodeTakeover, AfterAMoveNeitherALackOfEpochsMovesIt) {
  bench.saying.just_moved = true;
  bench.run(2500);
  EXPECT_FALSE(bench.ever<action::ReadArbiter>());
  bench.saying.just_moved = false;
  bench.run_committing(200, 6);
  EXPECT_EQ(bench.status().why, "holds the guest's image");
}

TEST_F(NodeTakeover, AfterAMoveASilentPrimaryIsTakenOverAllTheSame) {
  bench.saying.just_moved = true;
  bench.run(100);
  bench.speaking = false;
  bench.run(450);
  EXPECT_TRUE(bench.ever<action::ReadArbiter>());
}

TEST_F(NodeTakeover, TheNewHolderSaysThatItsGuestHasJustMoved) {
  until_promise();
  bench.feed(input::PromisePersisted{Term{3}});
  bench.grant(Term{3}, {bench.self()});
  bench.persist(Term{3});
  bench.feed(input::GuestRunning{Term{3}});
  EXPECT_TRUE(bench.sent.just_moved);
  bench.run(9'900);
  EXPECT_TRUE(bench.sent.just_moved);
  bench.run(300);
  EXPECT_FALSE(bench.sent.just_moved);
}

TEST_F(NodeTakeover, ARestartedPrimaryIsTakenOverAtOnce) {
  bench.speaking = false;
  bench.run(60);
  bench.peer_incarnation = Incarnation{303};
  bench.saying.role = Role::kStarting;
  bench.hear();
  EXPECT_TRUE(bench.ever<action::ReadArbiter>());
  EXPECT_THAT(bench.status().why, HasSubstr("restarted"));
}

TEST_F(NodeTakeover, AFencedPrimaryIsTakenOverAtOnce) {
  bench.saying.role = Role::kFenced;
  bench.hear();
  EXPECT_TRUE(bench.ever<action::ReadArbiter>());
}

TEST_F(NodeTakeover, OnesOwnStopIsNoSilence) {
  bench.jump(10'000);
  bench.feed(input::Tick{});
  EXPECT_FALSE(bench.ever<action::ReadArbiter>());
  bench.speaking = false;
  bench.run(450);
  EXPECT_TRUE(bench.ever<action::ReadArbiter>()) << "but what follows is";
}

TEST_F(NodeTakeover, APrimaryThatIsWellAgainKeepsTheGuest) {
  bench.speaking = false;
  bench.run(450);
  ASSERT_TRUE(bench.ever<action::ReadArbiter>());
  bench.speaking = true;
  bench.run_committing(100, 6);
  bench.answer(pair_record());
  EXPECT_FALSE(bench.ever<action::PersistPromise>());
}

TEST_F(NodeTakeover, AGrantBeforeAStopIsConfirmedFirst) {
  until_promise();
  bench.feed(input::PromisePersisted{Term{3}});
  bench.grant(Term{3}, {bench.self()});
  bench.feed(input::LoopGap{std::chrono::seconds{5}});
  bench.persist(Term{3});
  EXPECT_EQ(bench.last<action::SetGate>()->mode, GateMode::kHold);
  ASSERT_TRUE(bench.ever<action::TakeOver>());
  bench.answer(NodeBench::record(Term{3}, bench.self(), {bench.self()}, bench.proposal.request));
  EXPECT_EQ(bench.last<action::SetGate>()->mode, GateMode::kSolo);
}

TEST_F(NodeTakeover, AGuestThatCannotStartFencesTheNode) {
  until_promise();
  bench.feed(input::PromisePersisted{Term{3}});
  bench.grant(Term{3}, {bench.self()});
  bench.persist(Term{3});
  bench.feed(input::GuestFailed{Term{3}, "state does not fit"});
  EXPECT_EQ(bench.status().role, Role::kFenced);
  EXPECT_EQ(bench.last<action::SetGate>()->mode, GateMode::kMute);
  EXPECT_THAT(bench.status().why, HasSubstr("state does not fit"));
}

TEST_F(NodeTakeover, OnCommand) {
  bench.feed(input::Command{CommandId{8}, CommandKind::kTakeover});
  ASSERT_TRUE(bench.ever<action::ReadArbiter>());
  bench.answer(pair_record());
  bench.feed(input::PromisePersisted{Term{3}});
  bench.grant(Term{3}, {bench.self()});
  bench.persist(Term{3});
  EXPECT_FALSE(bench.ever<action::CommandResult>());
  bench.feed(input::GuestRunning{Term{3}});
  ASSERT_TRUE(bench.last<action::CommandResult>());
  EXPECT_TRUE(bench.last<action::CommandResult>()->ok);
  EXPECT_EQ(bench.last<action::CommandResult>()->id, CommandId{8});
}

TEST_F(NodeTakeover, CommandsAreAnsweredEvenIfTheArbiterIsNot) {
  bench.feed(input::Command{CommandId{8}, CommandKind::kTakeover});
  bench.run_committing(3100, 6);
  ASSERT_TRUE(bench.ever<action::CommandResult>());
  EXPECT_FALSE(bench.ever<action::CommandResult>()->ok);
  EXPECT_THAT(bench.ever<action::CommandResult>()->sentence, HasSubstr("arbiter does not answer"));
}

TEST_F(NodeTakeover, CommandWithoutAWholeImage) {
  bench.feed(input::ImageOverwritten{});
  bench.feed(input::Command{CommandId{8}, CommandKind::kTakeover});
  EXPECT_THAT(bench.last<action::CommandResult>()->sentence, HasSubstr("no whole image"));
}

TEST(NodeSecondarySwitchover, TakesTheTermAtTheFinalEpoch) {
  for (const bool keeps_image : {true, false}) {
    NodeConfig config;
    config.switchover_keeps_image = keeps_image;
    NodeBench bench{NodeId::kB, config};
    bench.become_whole();
    bench.saying.handover = HandoverOffer{Term{2}, {Term{2}, Epoch{6}}};
    bench.hear();
    EXPECT_FALSE(bench.ever<action::ReadArbiter>()) << "the final epoch is not here yet";
    bench.feed(input::EpochCommitted{Session{9}, {Term{2}, Epoch{6}}});
    ASSERT_TRUE(bench.ever<action::ReadArbiter>());
    bench.answer(NodeBench::record(Term{2}, bench.peer(), {bench.peer(), bench.self()}));
    bench.feed(input::PromisePersisted{Term{3}});
    EXPECT_EQ(bench.proposal.kind, keeps_image ? ProposalKind::kSwitchover : ProposalKind::kTakeover);
    if (keeps_image) {
      EXPECT_EQ(bench.proposal.peer, bench.peer());
      bench.grant(Term{3}, {bench.self(), bench.peer()});
      bench.persist(Term{3});
      EXPECT_EQ(bench.last<action::SetGate>()->mode, GateMode::kPair);
      ASSERT_TRUE(bench.last<action::StartSession>());
      EXPECT_EQ(bench.last<action::StartSession>()->base, (EpochPosition{Term{2}, Epoch{6}}));
      EXPECT_LT(bench.place<action::TakeOver>(), bench.place<action::StartSession>());
    }
  }
}

TEST(NodeSecondarySwitchover, RefusesWhenSick) {
  NodeBench bench{NodeId::kB};
  bench.become_whole();
  bench.probing = false;
  bench.probe_all(Health::kFailed);
  bench.saying.handover = HandoverOffer{Term{2}, {Term{2}, Epoch{5}}};
  bench.hear();
  EXPECT_THAT(bench.sent.refusal, HasSubstr("service NIC failed"));
  EXPECT_FALSE(bench.ever<action::ReadArbiter>());
  bench.saying.handover.reset();
  bench.hear();
  bench.run(50);
  EXPECT_EQ(bench.sent.refusal, "");
}

}  // namespace
}  // namespace understudy
