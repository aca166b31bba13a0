// A guest that ends by itself: over and never revived, started again by an operator, or broken by this host's KVM.
#include "failover/node.h"

namespace understudy {

void Node::on(const input::GuestNoted& in) {
  if (!runs_guest()) return;
  guest_note_ = in.text;
  beat_now_ = true;
  note(Severity::kWarning, "guest", {{"what", in.text}});
}

void Node::on(const input::GuestStopped& in) {
  if (!runs_guest() || guest_ == Guest::kNone || in.ended.empty()) return;
  guest_ = Guest::kStopped;
  ended_ = in.ended;
  end_settled_ = false;
  broken_.reset();
  restarting_ = false;
  beat_now_ = true;
  note(Severity::kWarning, "guest ended", {{"how", in.ended}});
  if (command_) answer(command_->id, false, "the guest did not stay up: " + in.ended);
  command_.reset();
  if (handover_) abandon_handover("the guest ended by itself");
}

void Node::on(const input::GuestBroken& in) {
  if (!runs_guest() || guest_ == Guest::kNone) return;
  guest_ = Guest::kStopped;
  broken_ = in.reason;
  restarting_ = false;
  beat_now_ = true;
  note(Severity::kError, "KVM gave up on the guest", {{"reason", in.reason}});
  if (handover_) abandon_handover("KVM gave up on the guest");
}

// Holder: the peer holds an epoch at whose end the guest is over.
void Node::end_committed(const std::string& ended) {
  if (guest_ == Guest::kStopped && ended == ended_ && role_ == Role::kPrimary) end_settled_ = true;
}

// The end counts once nobody can start from an epoch before it: the eligible peer holds it, or no peer is eligible nor may become so.
void Node::evaluate_end() {
  if (guest_ != Guest::kStopped || ended_.empty()) return;
  if (role_ == Role::kSolo && protecting_ == Protecting::kNo) end_settled_ = true;
  if (!end_settled_ || stored_end_ == ended_) return;
  remember_end(ended_);
  beat_now_ = true;
  note(Severity::kWarning, "the guest is over, and nobody will revive it", {{"how", ended_}});
}

// An instruction that this KVM can't carry out may be its own fault or its host's: the peer goes on from the last epoch, which contradicts
// nobody. Where that happened before, not long ago, or no peer has the image, or the pair is held, it is treated as the guest's own crash.
void Node::evaluate_broken() {
  if (!broken_) return;
  const bool again = took_over_broken_at_ && now_ - *took_over_broken_at_ < config_.broken_again_within;
  if (role_ == Role::kPrimary && !again && !peer_lost_its_image() && moves_by_itself()) {
    why_ = "waits for the peer to take over: KVM gave up on the guest here (" + *broken_ + "); `understudy start` boots it here";
    return;
  }
  broken_.reset();
  guest_ = Guest::kStarting;
  guest_term_ = term_;
  emit(action::RecoverGuest{term_});
}

void Node::remember_end(const std::string& ended) {
  if (stored_end_ == ended) return;
  stored_end_ = ended;
  emit(action::PersistEnd{ended});
}

// Holder: its guest runs, whatever was before.
void Node::guest_lives() {
  ended_.clear();
  end_settled_ = false;
  broken_.reset();
  restarting_ = false;
  remember_end("");
}

// No holder any more: what was said of its guest is not this node's to say. How a guest in the store ended stays known until an image
// comes.
void Node::forget_guest() {
  if (guest_ != Guest::kNone) ended_.clear();
  guest_ = Guest::kNone;
  end_settled_ = false;
  guest_note_.clear();
  broken_.reset();
  restarting_ = false;
  wants_no_peer_ = false;
}

void Node::command_start(CommandId id) {
  const auto refuse = [&](const std::string& why) { answer(id, false, "start refused: " + why); };
  if (command_ || applying_ || handover_) return refuse("another command is under way");
  if (runs_guest()) {
    if (guest_ != Guest::kStopped) return refuse("the guest is not over");
    command_ = PendingCommand{id, now_ + config_.handover_deadline, true};
    restarting_ = true;
    end_settled_ = false;
    broken_.reset();
    guest_ = Guest::kStarting;
    guest_term_ = term_;
    emit(action::RestartGuest{term_});
    return;
  }
  if (role_ != Role::kSecondary) return refuse(std::string{"this node is "} + name_of(role_) + (why_.empty() ? "" : ": " + why_));
  if (!image_whole_) return refuse("this node holds no whole image of the guest");
  if (config_.manual) return refuse("this pair has no arbiter that knows whether the other node runs; start the guest there");
  if (ended_.empty()) return refuse("the guest is not over; `understudy takeover` takes it over");
  if (peer_holds()) return refuse("the other node holds the guest: start it there");
  command_ = PendingCommand{id, now_ + config_.handover_deadline, true};
  begin_candidacy(Goal::kTakeover, "an operator starts the guest again");
}

std::string Node::told_of_guest() const {
  if (broken_) return "KVM gave up on the guest: " + *broken_;
  if (!ended_.empty()) return ended_;
  return guest_note_;
}

}  // namespace understudy
