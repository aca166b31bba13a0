#include "failover/peer_view.h"

#include <gtest/gtest.h>

#include "failover/petition.h"

namespace understudy {
namespace {

using std::chrono::milliseconds;
using Reception = PeerView::Reception;

constexpr NodeIncarnation kSelf{NodeId::kA, Incarnation{10}};

Instant at(int ms) { return Instant{milliseconds{ms}}; }

Heartbeat beat(std::uint64_t incarnation, std::uint64_t sequence, std::uint64_t echo, std::uint64_t echo_of = 10) {
  Heartbeat heartbeat;
  heartbeat.sender = {NodeId::kB, Incarnation{incarnation}};
  heartbeat.sequence = sequence;
  heartbeat.echo_incarnation = Incarnation{echo_of};
  heartbeat.echo_sequence = echo;
  return heartbeat;
}

TEST(PeerView, StrangerIsBelievedOnceItEchoes) {
  PeerView view;
  view.note_sent(1, at(0));
  EXPECT_EQ(view.receive(beat(20, 1, 0), kSelf, at(1)), Reception::kDropped);
  EXPECT_FALSE(view.known());
  // ... but our next heartbeat lets it prove itself.
  EXPECT_EQ(view.heard().incarnation, Incarnation{20});
  EXPECT_EQ(view.heard().sequence, 1U);
  EXPECT_EQ(view.receive(beat(20, 2, 1, 99), kSelf, at(2)), Reception::kDropped) << "an echo of another process of this host";
  EXPECT_EQ(view.receive(beat(20, 3, 1), kSelf, at(3)), Reception::kNewIncarnation);
  EXPECT_EQ(view.incarnation(), Incarnation{20});
}

TEST(PeerView, OrderWithinAnIncarnation) {
  PeerView view;
  view.note_sent(1, at(0));
  ASSERT_EQ(view.receive(beat(20, 5, 1), kSelf, at(1)), Reception::kNewIncarnation);
  EXPECT_EQ(view.receive(beat(20, 5, 1), kSelf, at(2)), Reception::kDropped) << "repeated";
  EXPECT_EQ(view.receive(beat(20, 4, 1), kSelf, at(3)), Reception::kDropped) << "overtaken";
  EXPECT_EQ(view.alive_at(), at(1)) << "neither is a sign of life";
  EXPECT_EQ(view.receive(beat(20, 6, 0), kSelf, at(4)), Reception::kAccepted) << "known, so no echo is needed";
  EXPECT_EQ(view.alive_at(), at(4));
}

TEST(PeerView, DeadProcessesCannotPassForARestart) {
  PeerView view;
  view.note_sent(1, at(0));
  view.note_sent(2, at(50));
  ASSERT_EQ(view.receive(beat(20, 5, 2), kSelf, at(60)), Reception::kNewIncarnation);
  EXPECT_EQ(view.receive(beat(19, 900, 1), kSelf, at(70)), Reception::kDropped) << "late";
  EXPECT_EQ(view.receive(beat(19, 901, 2), kSelf, at(71)), Reception::kDropped) << "no newer than what was echoed before";
  view.note_sent(3, at(80));
  EXPECT_EQ(view.receive(beat(21, 1, 3), kSelf, at(90)), Reception::kNewIncarnation);
  EXPECT_EQ(view.receive(beat(20, 6, 2), kSelf, at(91)), Reception::kDropped) << "the process before";
}

TEST(PeerView, ForeignAndOwnMessagesAreDropped) {
  PeerView view;
  view.note_sent(1, at(0));
  Heartbeat own = beat(20, 1, 1);
  own.sender.node = NodeId::kA;
  EXPECT_EQ(view.receive(own, kSelf, at(1)), Reception::kDropped);
  EXPECT_EQ(view.receive(beat(0, 1, 1), kSelf, at(1)), Reception::kDropped);
}

TEST(PeerView, ContactIsWhenTheEchoedHeartbeatLeft) {
  PeerView view;
  view.note_sent(1, at(0));
  view.note_sent(2, at(50));
  ASSERT_EQ(view.receive(beat(20, 1, 1), kSelf, at(60)), Reception::kNewIncarnation);
  EXPECT_EQ(view.contact_at(), at(0));
  ASSERT_EQ(view.receive(beat(20, 2, 2), kSelf, at(400)), Reception::kAccepted);
  EXPECT_EQ(view.contact_at(), at(50));
  // An echo of something never sent is no contact.
  ASSERT_EQ(view.receive(beat(20, 3, 77), kSelf, at(500)), Reception::kAccepted);
  EXPECT_EQ(view.contact_at(), at(50));
}

TEST(PeerView, GapIsForgivenOnce) {
  PeerView view;
  view.start_watching(at(100));
  view.forgive(milliseconds{10'000}, at(10'110));
  EXPECT_EQ(view.alive_at(), at(10'100));
  view.forgive(milliseconds{10'000}, at(10'111));
  EXPECT_EQ(view.alive_at(), at(10'111)) << "told twice: not into the future";
}

struct PetitionCase {
  const char* name;
  std::optional<Term> record;
  std::uint64_t made_by;
  bool proposed;
  bool granted;
  PetitionOutcome expected;
};

TEST(Petition, Table) {
  // Request 7, made on term 4.
  Proposal proposal;
  proposal.request = RequestId{7};
  proposal.expected_term = Term{4};
  const PetitionCase cases[] = {
      {"granted", Term{5}, 7, true, true, PetitionOutcome::kGranted},
      {"granted, its reply lost, seen by a read", Term{5}, 7, false, false, PetitionOutcome::kGranted},
      {"another was", Term{5}, 8, true, false, PetitionOutcome::kLost},
      {"another was, seen by a read", Term{9}, 8, false, false, PetitionOutcome::kLost},
      {"the record stands: it may still come", Term{4}, 3, false, false, PetitionOutcome::kOpen},
      {"judged and refused where it stands", Term{4}, 3, true, false, PetitionOutcome::kLost},
      {"an older view", Term{3}, 2, false, false, PetitionOutcome::kOpen},
      {"no record, by a read", std::nullopt, 0, false, false, PetitionOutcome::kOpen},
      {"no record, and refused", std::nullopt, 0, true, false, PetitionOutcome::kLost},
  };
  for (const PetitionCase& one : cases) {
    ArbiterAnswer answer;
    answer.granted = one.granted;
    if (one.record) answer.record = ArbiterRecord{*one.record, PairMode::kSolo, kSelf, {kSelf}, RequestId{one.made_by}};
    EXPECT_EQ(judge_petition(proposal, answer, one.proposed), one.expected) << one.name;
  }
}

TEST(Petition, RequestIdsDiffer) {
  EXPECT_NE(make_request_id(Incarnation{1}, 1), make_request_id(Incarnation{1}, 2));
  EXPECT_NE(make_request_id(Incarnation{1}, 1), make_request_id(Incarnation{2}, 1));
  EXPECT_NE(make_request_id(Incarnation{1}, 1), RequestId{});
}

}  // namespace
}  // namespace understudy
