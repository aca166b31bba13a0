// The node that runs the guest, or is about to: a new pair's start, primary, solo, and the switchover.
#include "failover/node.h"

namespace understudy {

void Node::evaluate_starting() {
  if (!orders_.fenced.empty()) return fence(orders_.fenced, false);
  if (applying_ || goal_ == Goal::kBootstrap) return;
  if (no_record_) {
    if (!config_.starts_as_primary) return become_secondary("a new pair: waits for the primary");
    const bool peer_is_new = peer_heard() && !peer_.last().has_history;
    if (has_history_) {
      why_ = "the arbiter has no record, but this node has acted in term " + std::to_string(stored_term_.raw()) +
             ": seed the arbiter above the terms of both nodes (understudyd arbiter seed --help)";
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
  if (applying_) return;
  if (goal_ == Goal::kNone && confirmation_ && now_ >= ask_at_) pursue(Goal::kRead);
  if (guest_ == Guest::kStarting) return;
  evaluate_broken();
  if (guest_ == Guest::kStarting) return;
  evaluate_handover();
  if (role_ == Role::kPrimary) {
    evaluate_primary();
  } else {
    evaluate_solo();
  }
  evaluate_end();
  // Whoever claims a newer term than the record shows has learnt something: ask.
  const bool outdated = peer_.known() && record_ && peer_.last().term > std::max(term_, record_->term);
  if (goal_ == Goal::kNone && outdated && now_ >= ask_at_) pursue(Goal::kRead);
}

Node::Fitness Node::fitness_since(Instant instant) const {
  if (broken_) return Fitness::kUnproven;
  bool doubtful = false;
  for (const ProbePath path : config_.probes) {
    const auto& latest = probed_[static_cast<std::size_t>(path)];
    if (latest && latest->health == Health::kFailed) return Fitness::kUnproven;
    if (latest && latest->suspected) doubtful = true;
    if (!needs_fresh_proof(path)) continue;
    if (!latest || latest->health == Health::kUnknown || latest->started_at < instant) return Fitness::kUnproven;
    if (now_ - latest->completed_at > limits().max_age(path)) return Fitness::kUnproven;
  }
  return doubtful ? Fitness::kDoubtful : Fitness::kProven;
}

bool Node::peer_lost_its_image() const { return peer_.known() && peer_.incarnation() != eligible_peer().incarnation; }

std::string Node::reason_to_drop_peer() const {
  if (handover_ && handover_->offer) return "";
  if (wants_no_peer_) return "an operator wants it to run alone";
  if (peer_lost_its_image()) return "the peer restarted and lost its image";
  if (now_ - contact_at() > config_.solo_after) return "the peer is silent";
  if (peer_.known() && peer_.last().role == Role::kFenced) return "the peer is fenced";
  if (session_.up) return "";
  const Duration down = now_ - session_down_at_;
  if (down > config_.stalled_after) return "no session with the peer comes up";
  // Nor will one before the peer is well: every reply waits for it.
  if (const Verdict peer = verdict_on_peer(); down > config_.solo_after && peer.condition == Condition::kFailed)
    return "no session with the peer comes up, and its " + peer.text;
  return "";
}

void Node::evaluate_primary() {
  const std::string drop = reason_to_drop_peer();
  if (drop.empty()) {
    if (broken_at_) why_ = "the peer is eligible to take over";
    broken_at_.reset();
    evaluate_whole_pair();
    return;
  }
  if (!broken_at_) {
    broken_at_ = now_;
    note(Severity::kWarning, "peer lost", {{"reason", drop}});
  }
  if (goal_ == Goal::kSolo || now_ < recheck_at_) return;
  // Only evidence from after the break counts: the sick host must not win the race for the next term.
  const Fitness fitness = fitness_since(*broken_at_);
  if (fitness == Fitness::kUnproven) {
    why_ = "holds output: " + drop +
           (broken_ ? ", and KVM gave up on the guest here; `understudy start` boots it here"
                    : ", and this host's own probes are not proven healthy since");
    return;
  }
  if (!may_ask_alone()) {
    why_ = "holds output: " + drop + "; without an arbiter only an operator can say that the other node does not run: `understudy grant`";
    return;
  }
  // A suspicion that nobody shares or denies: a peer that is well asks first, and without one this host is better than none.
  if (fitness == Fitness::kDoubtful && now_ - *broken_at_ < config_.doubt_hold) {
    why_ = "holds output: " + drop + ", and here, " + verdict_on_self().text + "; leaves a peer that is well the time to take over";
    return;
  }
  why_ = "holds output: " + drop + "; asks to go on alone";
  mark(action::Milestone::kDetected, drop);
  pursue(Goal::kSolo, peer_.known() ? peer_.last().promise : Term{});
}

// Primary, with the eligible peer within reach.
void Node::evaluate_whole_pair() {
  if (handover_ && handover_->offer) return;
  const bool promised_more = peer_.known() && peer_.last().promise > term_;
  if (!promised_more) promised_since_.reset();
  if (promised_more && !promised_since_) promised_since_ = now_;
  // A peer that promised a higher term no longer acks this one. It is left the time to go through with it: an operator may want it so, and
  // if this host is sick the peer is right.
  const bool contested = promised_since_ && now_ - *promised_since_ >= config_.solo_after;
  const bool unsettled = guest_ == Guest::kPaused && !handover_;
  const bool asks = (contested || unsettled) && goal_ == Goal::kNone && now_ >= recheck_at_;
  if (asks && config_.manual && !operator_granted()) {
    why_ = "waits: the other node may have been granted the guest; if it does not run it, `understudy grant`";
    return;
  }
  if (asks && verdict_on_self().condition != Condition::kFailed) return pursue(Goal::kRenew, peer_.known() ? peer_.last().promise : Term{});
  if (session_.started || promised_more || now_ < session_at_ || !peer_.known() || peer_.last().role != Role::kSecondary) return;
  // Right after a break a session catches up. Later it could only send everything, and overwrite the one image that may take over: that
  // must wait for solo.
  if (now_ - session_down_at_ < config_.stalled_after) start_session(std::nullopt);
}

void Node::evaluate_solo() {
  const bool peer_fresh = peer_.known() && now_ - peer_.alive_at() <= config_.stalled_after;
  if (session_.started && (wants_no_peer_ || !peer_fresh || peer_.incarnation() != session_.peer.incarnation)) stop_session();
  if (protecting_ == Protecting::kAsked && !session_.started) {
    // Re-protection was asked and not answered, and the peer is gone: it may be granted yet, so this term's solo output is no longer safe.
    // A new term settles it either way.
    if (goal_ != Goal::kRenew) pursue(Goal::kRenew);
    return;
  }
  if (protecting_ != Protecting::kNo && !session_.started) protecting_ = Protecting::kNo;
  if (wants_no_peer_ || !peer_fresh || peer_.last().role != Role::kSecondary) return;
  // Without an arbiter the other node's own record may be at a higher term, of which nothing came.
  if (const Term above = std::max(peer_.last().promise, config_.manual ? peer_.last().term : Term{}); above > term_) {
    if (goal_ == Goal::kNone && now_ >= recheck_at_) pursue(Goal::kRenew, above);
    return;
  }
  if (!session_.started && now_ >= session_at_) start_session(std::nullopt);
  protect();
}

void Node::protect() {
  if (!session_.whole || confirmation_ || now_ < recheck_at_) return;
  if (protecting_ == Protecting::kNo) {
    protecting_peer_ = session_.peer.incarnation;
    protecting_ = Protecting::kGate;  // sync_gate() orders it; on(GateSet) goes on
  } else if (protecting_ == Protecting::kCatchUp && session_.committed >= open_epoch_ && goal_ == Goal::kNone) {
    protecting_ = Protecting::kAsked;
    pursue(Goal::kReprotect);
  }
}

void Node::start_session(std::optional<EpochPosition> base) {
  session_ = {.started = true, .peer = role_ == Role::kPrimary ? eligible_peer() : heard_peer()};
  emit(action::StartSession{term_, session_.peer, base});
}

void Node::stop_session() {
  if (session_.started) emit(action::StopSession{});
  session_over();
}

void Node::session_over() {
  if (session_.up) session_down_at_ = now_;
  session_ = {};
  session_at_ = now_ + config_.session_retry;
}

std::string Node::reason_not_to_switch_over() const {
  if (role_ != Role::kPrimary) return std::string{"this node is "} + name_of(role_) + "; ask the protected primary";
  if (handover_) return "another one is under way";
  if (guest_ == Guest::kStopped) return told_of_guest();
  if (guest_ != Guest::kRunning || goal_ != Goal::kNone || applying_ || confirmation_ || !reason_to_drop_peer().empty() || !session_.whole)
    return "the pair is not protected now";
  if (!peer_.last().image_whole || peer_.last().role != Role::kSecondary) return "the peer does not hold a whole image";
  if (const Verdict peer = verdict_on_peer(); peer.condition == Condition::kFailed) return "at the peer, " + peer.text;
  return "";
}

void Node::command_switchover(CommandId id) {
  if (const std::string reason = reason_not_to_switch_over(); !reason.empty()) return answer(id, false, "switchover refused: " + reason);
  begin_handover(id);
}

void Node::begin_handover(CommandId command) {
  handover_ = Handover{.command = command, .deadline = now_ + config_.handover_deadline};
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
  if (!handover_->offer) {
    if (role_ != Role::kPrimary || !session_.up) abandon_handover("the session to the peer is over");
    return;
  }
  if (role_ != Role::kPrimary) return abandon_handover("the peer is not eligible any more");
  if (peer_.echoed() >= handover_->offered_from && !peer_.last().refusal.empty()) return abandon_handover(peer_.last().refusal);
  if (now_ >= handover_->deadline) abandon_handover("the peer did not take over in time");
}

void Node::abandon_handover(const std::string& reason) {
  const bool offered = handover_->offer.has_value();
  const std::uint64_t offered_from = handover_->offered_from;
  handover_over(false, "switchover failed, the guest goes on here: " + reason);
  beat_now_ = true;
  if (guest_ != Guest::kFinishing && guest_ != Guest::kPaused) return;
  // A peer that has promised may have been granted the guest: the record must say so or no before it runs on here (evaluate_whole_pair()
  // asks).
  if (role_ == Role::kPrimary && offered &&
      !(peer_.echoed() >= offered_from && !peer_.last().refusal.empty() && peer_.last().promise <= term_))
    return;
  guest_ = Guest::kStarting;
  guest_term_ = term_;
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
