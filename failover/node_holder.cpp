// The node that runs the guest, or is about to: a new pair's start, primary, solo, and the switchover.
#include "failover/node.h"

namespace understudy {

void Node::evaluate_starting() {
  if (applying_ || goal_ == Goal::kBootstrap) return;
  if (no_record_) {
    if (!config_.starts_as_primary) return become_secondary("a new pair: waits for the primary");
    const bool peer_is_new = peer_.known() && !peer_.last().has_history && now_ - peer_.alive_at() <= config_.takeover_after;
    if (has_history_) {
      why_ = "the arbiter has no record, but this node has acted in term " + std::to_string(stored_term_.raw()) +
             ": seed the witness above the terms of both nodes";
    } else if (config_.alone || peer_is_new) {
      return pursue(Goal::kBootstrap);
    } else {
      why_ = "a new pair: waits for the peer to say that it has no history either";
    }
  }
  if (goal_ == Goal::kNone && now_ >= recheck_at_) {
    recheck_at_ = now_ + config_.arbiter_retry;
    pursue(Goal::kRead);
  }
}

void Node::evaluate_holder() {
  if (guest_ == Guest::kStarting || guest_ == Guest::kStopped || applying_) return;
  evaluate_handover();
  if (role_ == Role::kPrimary) {
    evaluate_primary();
  } else {
    evaluate_solo();
  }
  // Whoever claims a newer term than the record shows has learnt something: ask.
  const bool outdated = peer_.known() && record_ && peer_.last().term > std::max(term_, record_->term);
  if (goal_ == Goal::kNone && (confirmation_ || outdated) && now_ >= ask_at_) pursue(Goal::kRead);
}

bool Node::proven_healthy_since(Instant instant) const {
  for (const ProbePath path : config_.probes) {
    const auto& latest = probed_[static_cast<std::size_t>(path)];
    if (!latest || latest->started_at < instant) return false;
    if (latest->health != Health::kHealthy && latest->health != Health::kDegraded) return false;
    if (now_ - latest->completed_at > config_.evidence_max_age) return false;
  }
  return true;
}

std::string Node::reason_to_drop_peer() const {
  if (handover_ && handover_->offer) return "";
  if (!session_.started) return "the session to the peer broke";
  if (peer_.known() && peer_.incarnation() != eligible_peer().incarnation) return "the peer restarted and lost its image";
  if (session_.peer != eligible_peer()) return "the session is not with the eligible peer";
  if (now_ - contact_at() > config_.solo_after) return "the peer is silent";
  return "";
}

void Node::evaluate_primary() {
  const std::string drop = reason_to_drop_peer();
  if (drop.empty()) {
    if (broken_at_) why_ = "the peer is eligible to take over";
    broken_at_.reset();
    // A peer that promised a higher term no longer acks this one. If this host is sick, the peer is right.
    const bool promised_more = peer_.known() && peer_.last().promise > term_;
    if (promised_more && goal_ == Goal::kNone && verdict_on_self().condition != Condition::kFailed && now_ >= recheck_at_)
      pursue(Goal::kRenew, peer_.last().promise);
    return;
  }
  if (!broken_at_) {
    broken_at_ = now_;
    note(Severity::kWarning, "peer lost", {{"reason", drop}});
  }
  if (goal_ == Goal::kSolo || now_ < recheck_at_) return;
  // Only evidence from after the break counts: the sick host must not win the race for the next term.
  if (!proven_healthy_since(*broken_at_)) {
    why_ = "holds output: " + drop + ", and this host's own probes are not proven healthy since";
    return;
  }
  why_ = "holds output: " + drop + "; asks to go on alone";
  mark(action::Milestone::kDetected, drop);
  pursue(Goal::kSolo, peer_.known() ? peer_.last().promise : Term{});
}

void Node::evaluate_solo() {
  const bool peer_fresh = peer_.known() && now_ - peer_.alive_at() <= config_.stalled_after;
  if (session_.started && (!peer_fresh || peer_.incarnation() != session_.peer.incarnation)) stop_session();
  if (protecting_ == Protecting::kAsked && !session_.started) {
    // Re-protection was asked and not answered, and the peer is gone: it may be granted yet, so this term's solo output is no longer safe.
    // A new term settles it either way.
    if (goal_ != Goal::kRenew) pursue(Goal::kRenew);
    return;
  }
  if (protecting_ != Protecting::kNo && !session_.started) protecting_ = Protecting::kNo;
  if (!peer_fresh || peer_.last().role != Role::kSecondary) return;
  if (peer_.last().promise > term_) {
    if (goal_ == Goal::kNone && now_ >= recheck_at_) pursue(Goal::kRenew, peer_.last().promise);
    return;
  }
  if (!session_.started && now_ >= session_at_) {
    session_ = {.started = true, .peer = heard_peer()};
    emit(action::StartSession{term_, session_.peer, std::nullopt});
  }
  protect();
}

void Node::protect() {
  if (!session_.whole || confirmation_ || now_ < recheck_at_) return;
  if (protecting_ == Protecting::kNo) {
    protecting_ = Protecting::kGate;  // sync_gate() orders it; on(GateSet) goes on
  } else if (protecting_ == Protecting::kCatchUp && session_.committed >= open_epoch_ && goal_ == Goal::kNone) {
    protecting_ = Protecting::kAsked;
    pursue(Goal::kReprotect);
  }
}

void Node::stop_session() {
  if (session_.started) emit(action::StopSession{});
  session_ = {};
  session_at_ = now_ + config_.session_retry;
}

void Node::command_switchover(CommandId id) {
  const auto refuse = [&](const std::string& why) { answer(id, false, "switchover refused: " + why); };
  if (role_ != Role::kPrimary) return refuse(std::string{"this node is "} + name_of(role_) + "; ask the protected primary");
  if (handover_) return refuse("another one is under way");
  if (guest_ != Guest::kRunning || goal_ != Goal::kNone || applying_ || confirmation_ || !reason_to_drop_peer().empty() || !session_.whole)
    return refuse("the pair is not protected now");
  if (!peer_.last().image_whole || peer_.last().role != Role::kSecondary) return refuse("the peer does not hold a whole image");
  if (const Verdict peer = verdict_on_peer(); peer.condition == Condition::kFailed) return refuse("at the peer, " + peer.text);
  handover_ = Handover{.command = id, .deadline = now_ + config_.handover_deadline};
  pursue(Goal::kRead);
}

void Node::evaluate_handover() {
  if (!handover_) return;
  if (handover_->checking) {
    if (now_ >= handover_->deadline) return abandon_handover("the arbiter does not answer");
    if (goal_ == Goal::kRead) return;
    if (goal_ != Goal::kNone || !reason_to_drop_peer().empty()) return abandon_handover("the pair is not protected any more");
    handover_->checking = false;
    guest_ = Guest::kFinishing;
    emit(action::FinishGuest{});
    return;
  }
  if (!handover_->offer) return;
  if (peer_.echoed() >= handover_->offered_from && !peer_.last().refusal.empty()) return abandon_handover(peer_.last().refusal);
  if (now_ >= handover_->deadline) abandon_handover("the peer did not take over in time");
}

// Safe at any moment: whatever the peer may still be granted starts from the final epoch, and output beyond it waits for the peer's ack.
void Node::abandon_handover(const std::string& reason) {
  answer(handover_->command, false, "switchover failed, the guest goes on here: " + reason);
  handover_.reset();
  beat_now_ = true;
  if (guest_ != Guest::kFinishing && guest_ != Guest::kPaused) return;
  guest_ = Guest::kStarting;
  emit(action::ResumeGuest{term_});
}

void Node::on(const input::HandoverFinished& in) {
  if (!handover_ || guest_ != Guest::kFinishing) return;
  guest_ = Guest::kPaused;
  handover_->offer = HandoverOffer{term_, in.final_epoch};
  handover_->offered_from = heartbeat_sequence_ + 1;
  handover_->deadline = now_ + config_.handover_deadline;
  beat_now_ = true;
}

void Node::on(const input::HandoverFailed& in) {
  if (handover_ && guest_ == Guest::kFinishing) abandon_handover(in.reason);
}

}  // namespace understudy
