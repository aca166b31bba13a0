// The other host switched off before a takeover or alongside it, and a holder that fences itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/failover/node_bench.h"

namespace understudy {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

NodeConfig with(Fencing fencing) {
  NodeConfig config;
  config.fencing = fencing;
  return config;
}

// Node b: its primary is lost, and term 3 is granted and stored.
void until_granted(NodeBench& bench) {
  bench.become_whole();
  bench.speaking = false;
  bench.run(450);
  bench.answer(NodeBench::record(Term{2}, bench.peer(), {bench.peer(), bench.self()}));
  bench.feed(input::PromisePersisted{Term{3}});
  bench.grant(Term{3}, {bench.self()});
  bench.persist(Term{3});
}

TEST(NodeFencing, WithoutAnAgentNobodyIsShot) {
  NodeBench bench{NodeId::kB};
  until_granted(bench);
  EXPECT_TRUE(bench.ever<action::TakeOver>());
  EXPECT_FALSE(bench.ever<action::FencePeer>());
}

TEST(NodeFencing, AlongsideNothingWaits) {
  NodeBench bench{NodeId::kB, with(Fencing::kAlongside)};
  until_granted(bench);
  EXPECT_TRUE(bench.ever<action::TakeOver>());
  ASSERT_TRUE(bench.ever<action::FencePeer>());
  EXPECT_EQ(bench.ever<action::FencePeer>()->term, Term{3});
  bench.feed(input::PeerFenced{Term{3}, false, "no route"});
  EXPECT_EQ(bench.status().role, Role::kSolo);
}

TEST(NodeFencing, RequiredTheGuestWaitsForTheConfirmation) {
  NodeBench bench{NodeId::kB, with(Fencing::kRequired)};
  until_granted(bench);
  ASSERT_TRUE(bench.ever<action::FencePeer>());
  bench.run(2000);
  EXPECT_FALSE(bench.ever<action::TakeOver>());
  EXPECT_THAT(bench.status().why, HasSubstr("waits until the other host is switched off"));
  bench.feed(input::PeerFenced{Term{2}, true, "late, of another term"});
  EXPECT_FALSE(bench.ever<action::TakeOver>());
  bench.feed(input::PeerFenced{Term{3}, true, "Powered OFF"});
  EXPECT_TRUE(bench.ever<action::TakeOver>());
}

TEST(NodeFencing, NobodyIsShotBeforeTheGrant) {
  NodeBench bench{NodeId::kB, with(Fencing::kRequired)};
  bench.become_whole();
  bench.speaking = false;
  bench.run(450);
  bench.answer(NodeBench::record(Term{2}, bench.peer(), {bench.peer(), bench.self()}));
  bench.feed(input::PromisePersisted{Term{3}});
  EXPECT_FALSE(bench.ever<action::FencePeer>());
}

TEST(NodeFencing, AnAgentThatFailsIsTriedAgainUntilAnOperatorKnows) {
  NodeBench bench{NodeId::kB, with(Fencing::kRequired)};
  until_granted(bench);
  bench.feed(input::PeerFenced{Term{3}, false, "no route"});
  EXPECT_THAT(bench.status().why, HasSubstr("failed (no route)"));
  bench.all.clear();
  bench.run(4900);
  EXPECT_FALSE(bench.ever<action::FencePeer>());
  bench.run(200);
  EXPECT_TRUE(bench.ever<action::FencePeer>());
  EXPECT_FALSE(bench.ever<action::TakeOver>());
  bench.feed(input::Command{.id = CommandId{7}, .kind = CommandKind::kGrant, .by = "alice"});
  EXPECT_TRUE(bench.ever<action::CommandResult>()->ok);
  EXPECT_TRUE(bench.ever<action::TakeOver>());
}

TEST(NodeFencing, ThePeersOwnWordIsAsGood) {
  NodeBench bench{NodeId::kB, with(Fencing::kRequired)};
  until_granted(bench);
  bench.speaking = true;
  bench.saying.role = Role::kPrimary;
  bench.run(100);
  EXPECT_FALSE(bench.ever<action::TakeOver>()) << "it still thinks that it holds";
  bench.saying.role = Role::kFenced;
  bench.saying.term = Term{2};
  bench.run(100);
  EXPECT_TRUE(bench.ever<action::TakeOver>());
}

TEST(NodeFencing, ASwitchoverShootsNobody) {
  for (const Fencing fencing : {Fencing::kAlongside, Fencing::kRequired}) {
    NodeBench bench{NodeId::kB, with(fencing)};
    bench.become_whole();
    bench.saying.handover = HandoverOffer{Term{2}, {Term{2}, Epoch{5}}};
    bench.run(60);
    bench.answer(NodeBench::record(Term{2}, bench.peer(), {bench.peer(), bench.self()}));
    bench.feed(input::PromisePersisted{Term{3}});
    bench.grant(Term{3}, {bench.self()});
    bench.persist(Term{3});
    EXPECT_TRUE(bench.ever<action::TakeOver>());
    EXPECT_FALSE(bench.ever<action::FencePeer>());
  }
}

TEST(NodeFencing, AHolderThatIsUnfitForLongLetsNothingOutUntilItIsWell) {
  NodeConfig config;
  config.self_fence_after = milliseconds{1000};
  NodeBench bench{NodeId::kA, config};
  bench.become_solo();
  ASSERT_EQ(bench.status().gate, GateMode::kSolo);
  bench.probing = false;
  const auto probe = [&](Health health, int ms) {
    for (int done = 0; done < ms; done += 50) {
      bench.probe_all(health);
      bench.run(50);
    }
  };
  probe(Health::kFailed, 900);
  EXPECT_EQ(bench.status().gate, GateMode::kSolo);
  EXPECT_EQ(bench.status().unfit, "");
  probe(Health::kFailed, 200);
  EXPECT_EQ(bench.status().gate, GateMode::kHold);
  EXPECT_THAT(bench.status().unfit, HasSubstr("failed"));
  EXPECT_TRUE(bench.status().holds_output);
  probe(Health::kHealthy, 100);
  EXPECT_EQ(bench.status().gate, GateMode::kSolo);
  EXPECT_EQ(bench.status().unfit, "");
}

TEST(NodeFencing, APrimaryWithoutPeerAndGrantIsUnfit) {
  NodeConfig config;
  config.self_fence_after = milliseconds{1000};
  NodeBench bench{NodeId::kA, config};
  bench.become_protected();
  bench.speaking = false;
  bench.run(2000);
  EXPECT_THAT(bench.status().unfit, HasSubstr("not granted to go on alone"));
  bench.speaking = true;
  bench.run(200);
  EXPECT_EQ(bench.status().unfit, "") << "the peer is there again";
}

}  // namespace
}  // namespace understudy
