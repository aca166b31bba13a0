// What goes into a node and comes out of it, as archive.h's fields. A new field of one of these types belongs here as well: without it a
// replay would go another way than the node did, which the simulation's replays find.
#pragma once

#include "failover/archive.h"
#include "failover/node.h"

namespace understudy {

template <>
struct ArchivedEnum<NodeId> {
  static constexpr NodeId kLast = NodeId::kB;
};
template <>
struct ArchivedEnum<PairMode> {
  static constexpr PairMode kLast = PairMode::kSolo;
};
template <>
struct ArchivedEnum<ProposalKind> {
  static constexpr ProposalKind kLast = ProposalKind::kRenew;
};
template <>
struct ArchivedEnum<Role> {
  static constexpr Role kLast = Role::kFenced;
};
template <>
struct ArchivedEnum<GateMode> {
  static constexpr GateMode kLast = GateMode::kSolo;
};
template <>
struct ArchivedEnum<CommandKind> {
  static constexpr CommandKind kLast = CommandKind::kGrant;
};
template <>
struct ArchivedEnum<ProbePath> {
  static constexpr ProbePath kLast = static_cast<ProbePath>(kProbePathCount - 1);
};
template <>
struct ArchivedEnum<Fencing> {
  static constexpr Fencing kLast = Fencing::kRequired;
};
template <>
struct ArchivedEnum<Health> {
  static constexpr Health kLast = Health::kFailed;
};
template <>
struct ArchivedEnum<Severity> {
  static constexpr Severity kLast = Severity::kError;
};
template <>
struct ArchivedEnum<action::Milestone> {
  static constexpr action::Milestone kLast = action::Milestone::kTermStored;
};

// clang-format off
void transfer(auto& archive, NodeIncarnation& x) { archive(x.node, x.incarnation); }
void transfer(auto& archive, ArbiterRecord& x) { archive(x.term, x.mode, x.holder, x.eligible, x.request); }
void transfer(auto& archive, Proposal& x) { archive(x.kind, x.request, x.expected_term, x.at_least, x.proposer, x.peer); }
void transfer(auto& archive, ArbiterAnswer& x) { archive(x.granted, x.record, x.store, x.reason); }
void transfer(auto& archive, EpochPosition& x) { archive(x.term, x.epoch); }
void transfer(auto& archive, HandoverOffer& x) { archive(x.term, x.final_epoch); }
void transfer(auto& archive, PathEvidence& x) { archive(x.path, x.health, x.age, x.text, x.suspected, x.beyond); }
void transfer(auto& archive, ProbeReport& x) { archive(x.path, x.health, x.started_at, x.completed_at, x.text, x.suspected, x.beyond, x.latency); }
void transfer(auto& archive, Hold& x) { archive(x.revision, x.held, x.since_ns, x.until_ns, x.by, x.reason); }
void transfer(auto& archive, StandingOrders& x) { archive(x.hold, x.fenced); }
void transfer(auto& archive, Heartbeat& x) {
  archive(x.sender, x.sequence, x.echo_incarnation, x.echo_sequence, x.role, x.term, x.promise, x.has_history, x.image_whole, x.committed,
          x.eligible_peer, x.guest_stopped, x.guest, x.handover, x.refusal, x.evidence, x.just_moved, x.hold, x.hold_ends_in, x.wants_no_peer);
}
void transfer(auto& archive, NodeConfig& x) {
  archive(x.node, x.starts_as_primary, x.alone, x.probes, x.heartbeat_every, x.takeover_after, x.solo_after, x.stalled_after, x.sick_hold,
          x.evidence_max_age, x.storage_max_age, x.doubt_hold, x.hold_down, x.arbiter_retry, x.store_retry, x.session_retry, x.gap_after, x.handover_deadline, x.switchover_keeps_image,
          x.broken_again_within, x.home, x.manual, x.fencing, x.self_fence_after, x.fence_retry, x.order_patience, x.rejoin_after);
}

void transfer(auto& archive, input::Started& x) {
  archive(x.self, x.term, x.promise, x.committed, x.ended, x.orders, x.hold_ends_in);
}
void transfer(auto&, input::Tick&) {}
void transfer(auto& archive, input::HeartbeatReceived& x) { archive(x.heartbeat); }
void transfer(auto& archive, input::PeerConnection& x) { archive(x.connected); }
void transfer(auto& archive, input::SessionUp& x) { archive(x.session, x.term, x.peer); }
void transfer(auto&, input::ImageOverwritten&) {}
void transfer(auto& archive, input::EpochCommitted& x) { archive(x.session, x.at, x.ended); }
void transfer(auto&, input::SessionActivity&) {}
void transfer(auto& archive, input::SessionBroken& x) { archive(x.reason); }
void transfer(auto& archive, input::SessionRefused& x) { archive(x.peer_promise, x.reason); }
void transfer(auto& archive, input::Probed& x) { archive(x.report); }
void transfer(auto& archive, input::ArbiterAnswered& x) { archive(x.ask, x.answer); }
void transfer(auto& archive, input::ArbiterFailed& x) { archive(x.ask, x.reason); }
void transfer(auto& archive, input::PromisePersisted& x) { archive(x.promise); }
void transfer(auto& archive, input::TermPersisted& x) { archive(x.term); }
void transfer(auto& archive, input::OrdersPersisted& x) { archive(x.order); }
void transfer(auto& archive, input::PeerFenced& x) { archive(x.term, x.ok, x.text); }
void transfer(auto& archive, input::Poisoned& x) { archive(x.term); }
void transfer(auto& archive, input::StoreFailed& x) { archive(x.reason); }
void transfer(auto& archive, input::GateSet& x) { archive(x.order, x.open_epoch); }
void transfer(auto& archive, input::GuestRunning& x) { archive(x.term); }
void transfer(auto& archive, input::GuestFailed& x) { archive(x.term, x.reason); }
void transfer(auto& archive, input::HandoverFinished& x) { archive(x.final_epoch); }
void transfer(auto& archive, input::HandoverFailed& x) { archive(x.reason); }
void transfer(auto& archive, input::LoopGap& x) { archive(x.length); }
void transfer(auto& archive, input::Command& x) { archive(x.id, x.kind, x.by, x.reason, x.now_ns, x.length); }
void transfer(auto& archive, input::GuestStopped& x) { archive(x.ended); }
void transfer(auto& archive, input::GuestBroken& x) { archive(x.reason); }
void transfer(auto& archive, input::GuestNoted& x) { archive(x.text); }

void transfer(auto& archive, action::ReadArbiter& x) { archive(x.ask); }
void transfer(auto& archive, action::Propose& x) { archive(x.ask, x.proposal); }
void transfer(auto& archive, action::PersistPromise& x) { archive(x.promise); }
void transfer(auto& archive, action::PersistTerm& x) { archive(x.term, x.holding); }
void transfer(auto& archive, action::PersistEnd& x) { archive(x.ended); }
void transfer(auto& archive, action::PersistOrders& x) { archive(x.order, x.orders); }
void transfer(auto& archive, action::FencePeer& x) { archive(x.term); }
void transfer(auto& archive, action::SendHeartbeat& x) { archive(x.heartbeat); }
void transfer(auto& archive, action::BootGuest& x) { archive(x.term); }
void transfer(auto& archive, action::TakeOver& x) { archive(x.term, x.start); }
void transfer(auto&, action::FinishGuest&) {}
void transfer(auto& archive, action::ResumeGuest& x) { archive(x.term); }
void transfer(auto& archive, action::RestartGuest& x) { archive(x.term); }
void transfer(auto& archive, action::RecoverGuest& x) { archive(x.term); }
void transfer(auto& archive, action::StopGuest& x) { archive(x.reason); }
void transfer(auto& archive, action::StartSession& x) { archive(x.term, x.peer, x.base); }
void transfer(auto& archive, action::RaiseSessionTerm& x) { archive(x.term); }
void transfer(auto&, action::StopSession&) {}
void transfer(auto& archive, action::AcceptSessions& x) { archive(x.floor, x.keep_image); }
void transfer(auto&, action::RefuseSessions&) {}
void transfer(auto& archive, action::SetGate& x) { archive(x.order, x.mode, x.term, x.peer); }
void transfer(auto&, action::AnnounceAddress&) {}
void transfer(auto& archive, action::Rejoin& x) { archive(x.reason); }
void transfer(auto& archive, action::CommandResult& x) { archive(x.id, x.ok, x.sentence); }
void transfer(auto& archive, action::LogEvent& x) { archive(x.severity, x.event, x.fields); }
void transfer(auto& archive, action::Timeline& x) { archive(x.milestone, x.at, x.text); }
// clang-format on

}  // namespace understudy
