// Everything in a node that decides how it goes on, for tests that must know when two nodes are the same: the exhaustive exploration.
//
// Two nodes of one configuration that show a visitor the same values answer every sequence of inputs alike (but for sentences meant for
// people, which are left out). So instants are shown by what can still come of them: how long ago something was, or how long until it is
// due; a thing that is never looked at again in this situation is not shown. A new field of Node belongs here, unless it is such a
// sentence.
#pragma once

#include <algorithm>
#include <optional>

#include "failover/node.h"

namespace understudy {

// The visitor is called with numbers, enumerations, strong ids, durations, and the plain structs of node_io.h and arbiter.h (alone or in
// an optional).
template <class Visitor>
void Node::visit_state(Visitor&& visit) const {
  const auto age = [&](Instant since) { visit(now_ - since); };
  const auto age_if = [&](const std::optional<Instant>& since) {
    visit(since.has_value());
    if (since) age(*since);
  };
  // Deadlines are only ever compared with now: all that have passed are alike.
  const auto until = [&](Instant due) { visit(std::max(due - now_, Duration{})); };

  visit(config_.node);
  visit(started_);
  visit(self_);
  visit(term_);
  visit(promise_);
  visit(stored_term_);
  visit(storing_term_);
  visit(committed_);
  visit(has_history_);
  visit(role_);
  visit(guest_);
  visit(guest_ == Guest::kStarting ? guest_term_ : Term{});
  visit(image_whole_);
  visit(image_source_);
  visit(may_rejoin_);
  if (role_ == Role::kFenced && may_rejoin_) age(fenced_at_);

  peer_.visit_state(now_, visit);
  visit(heartbeat_sequence_);
  until(next_heartbeat_at_);
  visit(beat_now_);
  bool all_reported = true;
  for (const ProbePath path : config_.probes) {
    const auto& latest = probed_[static_cast<std::size_t>(path)];
    visit(latest.has_value());
    all_reported &= latest.has_value();
    if (!latest) continue;
    visit(latest->health);
    visit(latest->suspected);
    visit(latest->beyond);
    age(latest->started_at);
    age(latest->completed_at);
  }
  if (!all_reported) age(started_at_);
  if (runs_guest()) {
    age(acked_at_);
    age(session_down_at_);
  }
  if (role_ == Role::kSecondary) age(progress_at_);
  age_if(sick_since_);
  age_if(promised_since_);
  age_if(broken_at_);
  visit(std::min<Duration>(now_ - announced_at_, std::chrono::seconds{1}));
  visit(just_moved());
  if (just_moved()) age(*moved_at_);
  visit(refusal_.empty());

  visit(record_);
  visit(no_record_);
  visit(store_);
  visit(goal_);
  if (goal_ != Goal::kNone) {
    visit(stage_);
    visit(at_least_);
    visit(goal_asked_from_);
  }
  visit(promising_);
  visit(proposal_);
  visit(asks_);
  visit(gate_orders_);
  visit(requests_);
  until(ask_at_);
  until(recheck_at_);
  visit(applying_);
  age_if(store_failed_);
  visit(command_.has_value());
  if (command_) {
    visit(command_->id);
    until(command_->deadline);
    visit(command_->start);
  }
  visit(confirmation_.has_value());
  if (confirmation_) {
    visit(confirmation_->from);
    visit(confirmation_->heartbeat_from);
  }

  visit(ended_.empty());
  visit(end_settled_);
  visit(stored_end_.empty());
  visit(guest_note_.empty());
  visit(broken_.has_value());
  visit(candidate_for_broken_);
  age_if(took_over_broken_at_);
  visit(restarting_);

  visit(session_.started);
  visit(session_.up);
  visit(session_.whole);
  visit(session_.id);
  visit(session_.peer);
  visit(session_.committed);
  until(session_at_);
  visit(protecting_);
  visit(protecting_peer_);
  visit(open_epoch_);
  visit(gate_.order);
  visit(gate_.mode);
  visit(gate_.term);
  visit(gate_.peer);
  visit(orders_.hold);
  visit(hold_ends_at_.has_value());
  if (hold_ends_at_) until(*hold_ends_at_);
  visit(orders_.fenced.empty());
  visit(orders_asked_);
  visit(orders_stored_);
  visit(ordering_.has_value());
  if (ordering_) {
    visit(ordering_->id);
    visit(ordering_->kind);
    visit(ordering_->stored_by);
    until(ordering_->deadline);
  }
  visit(handed_over_);
  visit(fencing_for_);
  visit(fenced_for_);
  if (fence_again_at_ != Instant::max()) until(fence_again_at_);
  if (config_.self_fence_after) age_if(unfit_since_);
  visit(wants_no_peer_);
  visit(machine_spent_);
  visit(joins_again_);

  visit(handover_.has_value());
  if (!handover_) return;
  visit(handover_->command);
  visit(handover_->checking);
  visit(handover_->offer.has_value());
  if (handover_->offer) {
    visit(handover_->offer->term);
    visit(handover_->offer->final_epoch);
  }
  visit(handover_->offered_from);
  until(handover_->deadline);
}

}  // namespace understudy
