// What operators order for longer than a moment: hold, fence, protection; and the guest's way home.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/failover/node_bench.h"

namespace understudy {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

input::Command order(CommandKind kind, std::optional<Duration> length = std::nullopt) {
  return {.id = CommandId{7}, .kind = kind, .by = "alice", .reason = "new kernel", .now_ns = 1'000'000'000, .length = length};
}

class NodeOrders : public testing::Test {
 protected:
  // The store takes everything; the other node repeats the newest hold it heard.
  void obey(NodeBench& bench, const input::Command& command) {
    bench.feed(command);
    settle(bench);
  }
  void settle(NodeBench& bench) {
    if (const auto put = bench.ever<action::PersistOrders>()) bench.feed(input::OrdersPersisted{put->order});
    bench.saying.hold = bench.status().hold;
    bench.hear();
  }
};

TEST_F(NodeOrders, AHoldIsAnsweredWhenItIsStoredAndBothKnow) {
  NodeBench bench;
  bench.become_protected();
  bench.feed(order(CommandKind::kHold));
  ASSERT_TRUE(bench.last<action::PersistOrders>());
  EXPECT_TRUE(bench.last<action::PersistOrders>()->orders.hold.held);
  EXPECT_TRUE(bench.sent.hold.held) << "the peer is told at once";
  EXPECT_EQ(bench.sent.hold.by, "alice");
  bench.feed(input::OrdersPersisted{bench.last<action::PersistOrders>()->order});
  EXPECT_FALSE(bench.ever<action::CommandResult>()) << "the peer does not know yet";
  bench.saying.hold = bench.sent.hold;
  bench.hear();
  ASSERT_TRUE(bench.ever<action::CommandResult>());
  EXPECT_TRUE(bench.ever<action::CommandResult>()->ok);
  EXPECT_TRUE(bench.status().peer_knows_hold);
}

TEST_F(NodeOrders, AHoldThatTheOtherNodeDidNotHearSaysSo) {
  NodeBench bench;
  bench.become_protected();
  bench.feed(order(CommandKind::kHold));
  bench.feed(input::OrdersPersisted{bench.last<action::PersistOrders>()->order});
  bench.run(3100);
  ASSERT_TRUE(bench.ever<action::CommandResult>());
  EXPECT_FALSE(bench.ever<action::CommandResult>()->ok);
  EXPECT_THAT(bench.ever<action::CommandResult>()->sentence, HasSubstr("the other node did not hear of it"));
  EXPECT_TRUE(bench.status().hold.held) << "here it is held all the same";
}

TEST_F(NodeOrders, AHeldSecondaryLeavesALostPrimaryAlone) {
  NodeBench bench{NodeId::kB};
  bench.become_whole();
  obey(bench, order(CommandKind::kHold));
  bench.speaking = false;
  bench.all.clear();
  bench.run(3000);
  EXPECT_FALSE(bench.ever<action::ReadArbiter>());
  EXPECT_THAT(bench.status().why, HasSubstr("held by alice: does not take over although the primary is lost (the primary is silent"));
  obey(bench, order(CommandKind::kRelease));
  bench.run(100);
  EXPECT_TRUE(bench.ever<action::ReadArbiter>()) << "released, it does what must be done";
}

TEST_F(NodeOrders, AHoldEndsACandidacyThatPromisedNothing) {
  NodeBench bench{NodeId::kB};
  bench.become_whole();
  bench.speaking = false;
  bench.run(450);
  ASSERT_TRUE(bench.ever<action::ReadArbiter>());
  bench.feed(order(CommandKind::kHold));
  bench.answer(NodeBench::record(Term{2}, bench.peer(), {bench.peer(), bench.self()}));
  EXPECT_FALSE(bench.ever<action::PersistPromise>());
}

TEST_F(NodeOrders, AHoldThatComesAfterThePromiseStillStopsTheProposal) {
  NodeBench bench{NodeId::kB};
  bench.become_whole();
  bench.speaking = false;
  bench.run(450);
  bench.answer(NodeBench::record(Term{2}, bench.peer(), {bench.peer(), bench.self()}));
  ASSERT_TRUE(bench.ever<action::PersistPromise>());
  bench.feed(order(CommandKind::kHold));
  bench.feed(input::PromisePersisted{Term{3}});
  EXPECT_FALSE(bench.ever<action::Propose>());
}

TEST_F(NodeOrders, AnOperatorTakesAHeldGuestOver) {
  NodeBench bench{NodeId::kB};
  bench.become_whole();
  obey(bench, order(CommandKind::kHold));
  bench.speaking = false;
  bench.feed(order(CommandKind::kTakeover));
  bench.answer(NodeBench::record(Term{2}, bench.peer(), {bench.peer(), bench.self()}));
  bench.feed(input::PromisePersisted{Term{3}});
  ASSERT_TRUE(bench.ever<action::Propose>());
  bench.grant(Term{3}, {bench.self()});
  bench.persist(Term{3});
  EXPECT_EQ(bench.status().role, Role::kSolo);
}

TEST_F(NodeOrders, AHeldPrimaryGoesOnAloneAndTakesItsPeerAgain) {
  NodeBench bench;
  bench.become_protected();
  obey(bench, order(CommandKind::kHold));
  bench.speaking = false;
  bench.run(600);
  ASSERT_TRUE(bench.ever<action::Propose>());
  EXPECT_EQ(bench.proposal.kind, ProposalKind::kSolo) << "the guest stays where it is, and answers";
}

TEST_F(NodeOrders, AHoldWithATimeEndsByItself) {
  NodeBench bench{NodeId::kB};
  bench.become_whole();
  obey(bench, order(CommandKind::kHold, milliseconds{2000}));
  EXPECT_EQ(bench.status().hold.until_ns, 3'000'000'000U);
  bench.run_committing(1900, 6);
  EXPECT_TRUE(bench.status().hold.held);
  bench.run_committing(150, 60);
  EXPECT_FALSE(bench.status().hold.held);
  EXPECT_FALSE(bench.ever<action::PersistOrders>()->orders.hold.held) << "the store knows it, too";
}

TEST_F(NodeOrders, AHoldIsKeptOverARestart) {
  NodeBench bench{NodeId::kB};
  StandingOrders stored;
  stored.hold = {.revision = 3, .held = true, .since_ns = 5, .until_ns = 0, .by = "alice", .reason = ""};
  bench.feed(input::Started{.self = bench.self(), .term = Term{2}, .promise = {}, .committed = {}, .ended = "", .orders = stored});
  EXPECT_TRUE(bench.status().hold.held);
  EXPECT_EQ(bench.sent.hold, stored.hold);
}

TEST_F(NodeOrders, OneThatEndedWhileTheNodeWasDownIsOver) {
  NodeBench bench{NodeId::kB};
  StandingOrders stored;
  stored.hold = {.revision = 3, .held = true, .since_ns = 5, .until_ns = 9, .by = "alice", .reason = ""};
  bench.feed(input::Started{
      .self = bench.self(), .term = Term{2}, .promise = {}, .committed = {}, .ended = "", .orders = stored, .hold_ends_in = Duration{}});
  EXPECT_FALSE(bench.status().hold.held);
}

TEST_F(NodeOrders, TheNewerWordCountsOnBothNodes) {
  NodeBench bench{NodeId::kB};
  bench.become_whole();
  bench.saying.hold = {.revision = 4, .held = true, .since_ns = 5, .until_ns = 0, .by = "bob", .reason = ""};
  bench.hear();
  EXPECT_EQ(bench.status().hold.by, "bob");
  EXPECT_EQ(bench.ever<action::PersistOrders>()->orders.hold.revision, 4U);
  bench.saying.hold = {.revision = 3, .held = false, .since_ns = 9, .until_ns = 0, .by = "carol", .reason = ""};
  bench.hear();
  EXPECT_TRUE(bench.status().hold.held) << "an older word changes nothing";
}

TEST(Hold, TwoWordsAreInOneOrderEverywhere) {
  const Hold base{.revision = 2, .held = true, .since_ns = 5, .until_ns = 100, .by = "a", .reason = "r"};
  const auto with = [&](auto change) {
    Hold other = base;
    change(other);
    return other;
  };
  const Hold greater[] = {with([](Hold& x) { x.revision = 3, x.held = false; }),
                          with([](Hold& x) { x.until_ns = 0; }),
                          with([](Hold& x) { x.until_ns = 101; }),
                          with([](Hold& x) { x.since_ns = 6; }),
                          with([](Hold& x) { x.by = "b"; }),
                          with([](Hold& x) { x.reason = "s"; })};
  EXPECT_FALSE(newer(base, base));
  for (const Hold& one : greater) {
    EXPECT_TRUE(newer(one, base));
    EXPECT_FALSE(newer(base, one));
  }
  EXPECT_TRUE(newer(base, with([](Hold& x) { x.held = false; }))) << "a hold counts more than a release";
}

TEST_F(NodeOrders, AFenceOfTheSecondaryLastsOverARestart) {
  NodeBench bench{NodeId::kB};
  bench.become_whole();
  bench.feed(order(CommandKind::kFence));
  EXPECT_EQ(bench.status().role, Role::kFenced);
  EXPECT_TRUE(bench.ever<action::RefuseSessions>());
  EXPECT_FALSE(bench.ever<action::CommandResult>()) << "not stored yet";
  const auto put = bench.ever<action::PersistOrders>();
  ASSERT_TRUE(put);
  bench.feed(input::OrdersPersisted{put->order});
  EXPECT_TRUE(bench.ever<action::CommandResult>()->ok);

  NodeBench restarted{NodeId::kB};
  restarted.feed(
      input::Started{.self = restarted.self(), .term = Term{2}, .promise = {}, .committed = {}, .ended = "", .orders = put->orders});
  EXPECT_EQ(restarted.status().role, Role::kFenced);
  EXPECT_THAT(restarted.status().why, HasSubstr("fenced by alice (new kernel)"));
  EXPECT_FALSE(restarted.ever<action::AcceptSessions>());

  restarted.feed(order(CommandKind::kUnfence));
  restarted.feed(input::OrdersPersisted{restarted.ever<action::PersistOrders>()->order});
  EXPECT_TRUE(restarted.ever<action::CommandResult>()->ok);
  restarted.run(150);
  restarted.answer(NodeBench::record(Term{3}, restarted.peer(), {restarted.peer()}));
  EXPECT_EQ(restarted.status().role, Role::kSecondary);
  EXPECT_TRUE(restarted.ever<action::AcceptSessions>());
}

TEST_F(NodeOrders, TheOnlyNodeThatCanGoOnIsNotFenced) {
  NodeBench secondary{NodeId::kB};
  secondary.become_whole();
  obey(secondary, order(CommandKind::kHold));  // so that it does not take over by itself
  secondary.speaking = false;
  secondary.run(500);
  secondary.all.clear();
  secondary.feed(order(CommandKind::kFence));
  EXPECT_FALSE(secondary.ever<action::CommandResult>()->ok);
  EXPECT_THAT(secondary.ever<action::CommandResult>()->sentence, HasSubstr("`understudy takeover` here first"));

  NodeBench solo;
  solo.become_solo();
  solo.all.clear();
  solo.feed(order(CommandKind::kFence));
  EXPECT_FALSE(solo.ever<action::CommandResult>()->ok);
  EXPECT_EQ(solo.status().role, Role::kSolo);
}

TEST_F(NodeOrders, APrimaryHandsOverBeforeItIsFenced) {
  NodeConfig config;
  config.switchover_keeps_image = true;
  NodeBench bench{NodeId::kA, config};
  bench.become_protected();
  bench.feed(order(CommandKind::kFence));
  EXPECT_EQ(bench.status().role, Role::kPrimary);
  bench.answer(NodeBench::record(Term{2}, bench.self(), {bench.self(), bench.peer()}));
  ASSERT_TRUE(bench.ever<action::FinishGuest>());
  bench.feed(input::HandoverFinished{{Term{2}, Epoch{3}}});
  EXPECT_FALSE(bench.ever<action::PersistOrders>()) << "it may yet have to go on";
  bench.saying.role = Role::kPrimary;
  bench.saying.term = Term{3};
  bench.saying.eligible_peer = kOurs;
  bench.hear();
  EXPECT_EQ(bench.status().role, Role::kFenced);
  ASSERT_TRUE(bench.ever<action::PersistOrders>());
  bench.feed(input::OrdersPersisted{bench.ever<action::PersistOrders>()->order});
  EXPECT_TRUE(bench.ever<action::CommandResult>()->ok);
}

TEST_F(NodeOrders, APrimaryThatCantHandOverIsNotFenced) {
  NodeBench bench;
  bench.become_protected();
  bench.feed(order(CommandKind::kFence));
  bench.answer(NodeBench::record(Term{2}, bench.self(), {bench.self(), bench.peer()}));
  bench.feed(input::HandoverFailed{"the peer does not ack"});
  ASSERT_TRUE(bench.ever<action::CommandResult>());
  EXPECT_EQ(bench.ever<action::CommandResult>()->id, CommandId{7});
  EXPECT_FALSE(bench.ever<action::CommandResult>()->ok);
  EXPECT_THAT(bench.ever<action::CommandResult>()->sentence, HasSubstr("the guest goes on here: the peer does not ack"));
  EXPECT_EQ(bench.status().role, Role::kPrimary);
  EXPECT_FALSE(bench.ever<action::PersistOrders>());
}

TEST_F(NodeOrders, NobodyIsLetInWhomNoOperatorFenced) {
  NodeBench bench{NodeId::kB};
  bench.become_whole();
  bench.feed(order(CommandKind::kUnfence));
  EXPECT_FALSE(bench.ever<action::CommandResult>()->ok);
  EXPECT_THAT(bench.ever<action::CommandResult>()->sentence, HasSubstr("not fenced, but secondary"));
}

// A node that was let in again and finds its own name in the record has no guest to go on with.
TEST_F(NodeOrders, ANodeThatIsLetInAgainNeverBoots) {
  NodeBench bench{NodeId::kA};
  StandingOrders stored;
  stored.fenced = "fenced by alice";
  bench.feed(input::Started{.self = bench.self(), .term = Term{2}, .promise = {}, .committed = {}, .ended = "", .orders = stored});
  bench.feed(order(CommandKind::kUnfence));
  bench.feed(input::OrdersPersisted{bench.ever<action::PersistOrders>()->order});
  bench.run(150);
  bench.answer(NodeBench::record(Term{3}, bench.self(), {bench.self()}));
  EXPECT_EQ(bench.status().role, Role::kFenced);
  EXPECT_FALSE(bench.ever<action::BootGuest>());
}

TEST_F(NodeOrders, UnprotectGoesOnAloneByGrantAndProtectTakesThePeerBack) {
  NodeBench bench;
  bench.become_protected();
  bench.jump(1);
  bench.feed(order(CommandKind::kUnprotect));
  EXPECT_FALSE(bench.ever<action::Propose>()) << "only with probes from after the order";
  bench.run(150);
  ASSERT_TRUE(bench.ever<action::Propose>());
  EXPECT_EQ(bench.proposal.kind, ProposalKind::kSolo);
  bench.grant(Term{3}, {bench.self()});
  bench.persist(Term{3});
  EXPECT_TRUE(bench.ever<action::CommandResult>()->ok);
  EXPECT_TRUE(bench.ever<action::StopSession>());
  bench.all.clear();
  bench.run(1000);
  EXPECT_TRUE(bench.sent.wants_no_peer);
  EXPECT_FALSE(bench.ever<action::StartSession>()) << "the peer is there, and not wanted";
  bench.feed(order(CommandKind::kProtect));
  bench.run(100);
  EXPECT_TRUE(bench.ever<action::StartSession>());
  EXPECT_FALSE(bench.sent.wants_no_peer);
}

TEST_F(NodeOrders, ASickPrimaryDoesNotGoOnAlone) {
  NodeBench bench;
  bench.become_protected();
  bench.probing = false;
  bench.probe(ProbePath::kStorage, Health::kFailed, bench.now());
  bench.feed(order(CommandKind::kUnprotect));
  EXPECT_FALSE(bench.ever<action::CommandResult>()->ok);
  EXPECT_FALSE(bench.status().wants_no_peer);
}

TEST_F(NodeOrders, FailbackKnowsTheWayHome) {
  const auto said = [](std::optional<NodeId> home, bool protected_pair = true) {
    NodeConfig config;
    config.home = home;
    NodeBench bench{NodeId::kA, config};
    if (protected_pair)
      bench.become_protected();
    else
      bench.become_solo();
    bench.all.clear();
    bench.feed(order(CommandKind::kFailback));
    const auto result = bench.ever<action::CommandResult>();
    return result ? result->sentence : std::string{bench.ever<action::ReadArbiter>() ? "begun" : "nothing"};
  };
  EXPECT_THAT(said(std::nullopt), HasSubstr("names no home"));
  EXPECT_THAT(said(NodeId::kA), HasSubstr("the guest is at home"));
  EXPECT_EQ(said(NodeId::kB), "begun");
  EXPECT_THAT(said(NodeId::kB, false), HasSubstr("switchover refused"));
}

// Without an arbiter.
NodeConfig manual() {
  NodeConfig config;
  config.manual = true;
  return config;
}

TEST_F(NodeOrders, WithoutAnArbiterTheSecondaryWaitsForAGrant) {
  NodeBench bench{NodeId::kB, manual()};
  bench.become_whole();
  bench.speaking = false;
  bench.run(3000);
  EXPECT_FALSE(bench.ever<action::ReadArbiter>());
  EXPECT_THAT(bench.status().why, HasSubstr("`understudy grant`"));
  bench.feed(order(CommandKind::kTakeover));
  EXPECT_FALSE(bench.ever<action::CommandResult>()->ok);
  bench.feed(order(CommandKind::kGrant));
  bench.answer(NodeBench::record(Term{2}, bench.peer(), {bench.peer(), bench.self()}));
  bench.feed(input::PromisePersisted{Term{3}});
  ASSERT_TRUE(bench.ever<action::Propose>());
  EXPECT_EQ(bench.proposal.kind, ProposalKind::kTakeover);
}

TEST_F(NodeOrders, WithoutAnArbiterALivingHolderIsNotTakenOver) {
  NodeBench bench{NodeId::kB, manual()};
  bench.become_whole();
  bench.feed(order(CommandKind::kGrant));
  EXPECT_FALSE(bench.ever<action::CommandResult>()->ok);
  EXPECT_THAT(bench.ever<action::CommandResult>()->sentence, HasSubstr("lives and holds the guest"));
}

TEST_F(NodeOrders, WithoutAnArbiterThePrimaryHoldsItsOutputUntilItIsGranted) {
  NodeBench bench{NodeId::kA, manual()};
  bench.become_protected();
  bench.feed(order(CommandKind::kGrant));
  EXPECT_THAT(bench.ever<action::CommandResult>()->sentence, HasSubstr("waits for no grant"));
  bench.speaking = false;
  bench.run(2000);
  EXPECT_FALSE(bench.ever<action::Propose>());
  EXPECT_THAT(bench.status().why, HasSubstr("`understudy grant`"));
  bench.all.clear();
  bench.feed(order(CommandKind::kGrant));
  ASSERT_TRUE(bench.ever<action::Propose>());
  EXPECT_EQ(bench.proposal.kind, ProposalKind::kSolo);
  bench.grant(Term{3}, {bench.self()});
  bench.persist(Term{3});
  bench.run(50);
  EXPECT_TRUE(bench.ever<action::CommandResult>()->ok);
  EXPECT_EQ(bench.status().role, Role::kSolo);
}

TEST_F(NodeOrders, WithoutAnArbiterARestartedPeerNeedsNoGrant) {
  NodeBench bench{NodeId::kA, manual()};
  bench.become_protected();
  bench.peer_incarnation = Incarnation{303};
  bench.saying.image_whole = false;
  bench.run(500);
  ASSERT_TRUE(bench.ever<action::Propose>()) << "its only image is gone: nobody can be granted the guest";
  EXPECT_EQ(bench.proposal.kind, ProposalKind::kSolo);
}

}  // namespace
}  // namespace understudy
