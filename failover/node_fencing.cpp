// The other host, switched off by an agent after this node was granted the guest: alongside the takeover, or before it; and a holder that
// fences itself.
//
// The grant comes first: only the holder of a term may shoot, so two hosts never shoot each other for the same guest.
#include "failover/node.h"

namespace understudy {

// Whether the granted term must still wait, as it does until the other host is known not to run the guest.
bool Node::fence_peer_first() {
  if (config_.fencing != Fencing::kRequired || role_ != Role::kSecondary || handed_over_ || fenced_for_ >= applying_->term) return false;
  if (fencing_for_ != applying_->term) {
    fencing_for_ = applying_->term;
    fence_again_at_ = Instant::max();
    why_ = "granted term " + std::to_string(fencing_for_.raw()) + "; waits until the other host is switched off";
    note(Severity::kWarning, "the other host is switched off", {{"term", std::to_string(fencing_for_.raw())}});
    emit(action::FencePeer{fencing_for_});
  }
  return true;
}

void Node::on(const input::PeerFenced& in) {
  note(in.ok ? Severity::kInfo : Severity::kError, in.ok ? "the other host is off" : "the other host could not be switched off",
       {{"how", in.text}});
  if (in.term != fencing_for_ || !applying_ || !waits_for_fencing()) return;
  if (in.ok) return peer_is_fenced(in.text);
  fence_again_at_ = now_ + config_.fence_retry;
  why_ = "granted term " + std::to_string(fencing_for_.raw()) + "; waits until the other host is switched off, which failed (" + in.text +
         ") and is tried again; `understudy grant --i-assert` when you know that it is off";
}

void Node::on(const input::Poisoned& in) {
  note(Severity::kWarning, "a poison pill lies on the shared disk", {{"term", std::to_string(in.term.raw())}});
  if (runs_guest() && in.term > term_) superseded("the other node was granted term " + std::to_string(in.term.raw()), in.term, false);
}

void Node::peer_is_fenced(const std::string& how) {
  fenced_for_ = fencing_for_;
  fence_again_at_ = Instant::max();
  note(Severity::kInfo, "the other host does not run the guest", {{"how", how}});
  if (applying_ && stored_term_ >= applying_->term) apply();
}

void Node::evaluate_fencing() {
  if (!applying_ || !waits_for_fencing() || fencing_for_ != applying_->term) return;
  // Its own fresh word is as good: it has learnt of the new term, or another process lives in its place.
  const bool gone = peer_.incarnation() != image_source_ && image_source_ != Incarnation{};
  const bool knows = peer_.last().term >= applying_->term;
  if (peer_heard() && (peer_.last().role == Role::kFenced || (peer_.last().role == Role::kSecondary && (gone || knows))))
    return peer_is_fenced("it says that it is " + std::string{name_of(peer_.last().role)});
  if (now_ < fence_again_at_) return;
  fence_again_at_ = Instant::max();
  emit(action::FencePeer{fencing_for_});
}

std::string Node::reason_to_be_unfit() const {
  if (!runs_guest()) return "";
  if (const Verdict self = verdict_on_self(); self.condition == Condition::kFailed) return self.text;
  return role_ == Role::kPrimary && broken_at_ ? "the peer is lost, and this node was not granted to go on alone" : "";
}

void Node::evaluate_fitness() {
  if (!config_.self_fence_after) return;
  const std::string reason = reason_to_be_unfit();
  const bool before = fenced_itself();
  if (reason.empty()) unfit_since_.reset();
  if (!reason.empty() && !unfit_since_) unfit_since_ = now_;
  if (before && reason.empty()) note(Severity::kInfo, "is fit again");
  if (!reason.empty() && fenced_itself() && gate_.mode != GateMode::kHold)
    note(Severity::kError, "fenced itself: nothing leaves until it is well", {{"reason", reason}});
}

}  // namespace understudy
