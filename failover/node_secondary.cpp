// The node that holds the image: when to take over, and the way there.
#include "failover/node.h"

namespace understudy {

namespace {
constexpr const char* kNoTakeover = "does not take over";
}

void Node::evaluate_secondary() {
  if (applying_) return evaluate_fencing();
  consider_handover();
  if (command_ && now_ >= command_->deadline) {
    answer(command_->id, false,
           stage_ == Stage::kProposing ? "the arbiter does not answer; the request is out and may still be granted"
                                       : "the arbiter does not answer");
    command_.reset();
  }
  if (taking_over()) {
    // Nothing is promised or proposed yet: a primary that is well again keeps the guest.
    const bool unfounded = goal_ == Goal::kTakeover ? !command_ && !(moves_by_itself() && reason_to_take_over()) : !peer_.last().handover;
    if (stage_ == Stage::kReading && unfounded) drop_goal();
    return;
  }
  if (!image_whole_ || goal_ != Goal::kNone) return;
  const std::optional<std::string> reason = reason_to_take_over();
  if (!reason) {
    const std::string held = held_back(verdict_on_peer());
    if (!held.empty())
      why_ = held;
    else if (why_.starts_with(kNoTakeover) && now_ >= recheck_at_)
      why_ = "holds the guest's image";
    return;
  }
  if (now_ < recheck_at_) return;
  if (const Verdict self = verdict_on_self(); self.condition == Condition::kFailed) {
    why_ = std::string{kNoTakeover} + " although the primary is lost (" + *reason + "): here, " + self.text;
    return;
  }
  if (config_.manual) {
    why_ = "does not take over although the primary is lost (" + *reason +
           "): without an arbiter only an operator can say that the other node does not run: `understudy grant`";
    return;
  }
  if (!moves_by_itself()) {
    why_ = "held by " + orders_.hold.by + ": does not take over although the primary is lost (" + *reason +
           "); `understudy takeover` does, `understudy release` ends the hold";
    return;
  }
  // Known to be struck: the record is asked again now and then, quietly, since news of a re-protection may have been lost with the primary.
  if (record_ && record_->term >= term_ && !eligible_by(*record_)) {
    why_ = "may not take over: not eligible in term " + std::to_string(record_->term.raw());
    recheck_at_ = now_ + 5 * config_.arbiter_retry;
    return pursue(Goal::kRead);
  }
  begin_candidacy(Goal::kTakeover, *reason);
}

std::optional<std::string> Node::reason_to_take_over() {
  if (!image_whole_ || !peer_.known() || !ended_.empty()) return std::nullopt;  // a guest that is over is not revived
  if (image_source_ != Incarnation{} && peer_.incarnation() != image_source_) return "the primary restarted and lost its image";
  const Role role = peer_.last().role;
  if (peer_.last().term >= term_ && (role == Role::kFenced || role == Role::kSecondary))
    return std::string{"the primary says that it is "} + name_of(role);
  const Verdict verdict = verdict_on_peer();
  if (verdict.condition != Condition::kFailed) sick_since_.reset();
  if (!held_back(verdict).empty()) {
    sick_since_.reset();
    return std::nullopt;
  }
  switch (verdict.condition) {
    case Condition::kSilent:
    case Condition::kStalled:
      return "the primary is " + verdict.text;
    case Condition::kFailed:
      if (!sick_since_) sick_since_ = now_;
      if (now_ - *sick_since_ < config_.sick_hold) return std::nullopt;
      return "the primary's " + verdict.text;
    case Condition::kHealthy:
    case Condition::kDegraded:
      return std::nullopt;
  }
  return std::nullopt;
}

// No flapping: what drove the guest from here may not be mended, and two sick hosts would pass it to and fro. KVM giving up has a rule of
// its own (evaluate_broken()), since there the guest stands.
std::string Node::held_back(const Verdict& verdict) const {
  const bool sick = verdict.condition == Condition::kFailed || verdict.condition == Condition::kStalled;
  if (!sick || !peer_.known() || !peer_.last().just_moved || verdict.path == ProbePath::kMachine) return "";
  return std::string{kNoTakeover} + " although the primary is sick (" + verdict.text +
         "): the guest moved there just now, and is not moved back at once";
}

void Node::begin_candidacy(Goal goal, const std::string& why) {
  mark(action::Milestone::kDetected, why);
  note(Severity::kWarning, "wants to take over", {{"reason", why}});
  why_ = "wants to take over: " + why;
  candidate_for_broken_ = verdict_on_peer().path == ProbePath::kMachine;
  pursue(goal);
}

void Node::candidacy_failed(const std::string& why) {
  note(Severity::kWarning, "does not take over", {{"reason", why}});
  why_ = std::string{kNoTakeover} + ": " + why;
  if (command_) answer(command_->id, false, "takeover refused: " + why);
  command_.reset();
  if (goal_ == Goal::kSwitchover) refusal_ = why;
  recheck_at_ = now_ + 5 * config_.arbiter_retry;
  beat_now_ = true;
  drop_goal();
}

void Node::consider_handover() {
  if (!peer_.known()) return;
  const Heartbeat& peer = peer_.last();
  if (!peer.handover) {
    if (!refusal_.empty()) progress_at_ = now_;  // the guest goes on there: epochs are due again
    refusal_.clear();
    return;
  }
  progress_at_ = now_;
  if (goal_ != Goal::kNone || !refusal_.empty() || peer.handover->term != term_ || peer.role != Role::kPrimary) return;
  if (!image_whole_ || committed_ != peer.handover->final_epoch) return;  // the primary's deadline ends it
  if (const Verdict self = verdict_on_self(); self.condition == Condition::kFailed) {
    refusal_ = "at the peer, " + self.text;
    beat_now_ = true;
    return;
  }
  begin_candidacy(Goal::kSwitchover, "switchover");
}

std::string Node::reason_not_to_take_over() const {
  if (role_ != Role::kSecondary) return std::string{"this node is "} + name_of(role_) + (why_.empty() ? "" : ": " + why_);
  if (!image_whole_) return "this node holds no whole image of the guest";
  if (command_ || applying_) return "another one is under way";
  if (!ended_.empty()) return ended_ + "; `understudy start` starts it again";
  return "";
}

void Node::command_takeover(CommandId id) {
  const auto refuse = [&](const std::string& why) { answer(id, false, "takeover refused: " + why); };
  if (const std::string reason = reason_not_to_take_over(); !reason.empty()) return refuse(reason);
  if (config_.manual)
    return refuse("this pair has no arbiter that knows whether the other node runs; make sure that it does not, then `understudy grant`");
  command_ = PendingCommand{id, now_ + config_.handover_deadline};
  if (!taking_over()) begin_candidacy(Goal::kTakeover, "an operator's command");
}

}  // namespace understudy
