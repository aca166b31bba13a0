#include "tests/sim/witness.h"

#include <utility>

namespace understudy::sim {

std::optional<ArbiterAnswer> Witness::read() const {
  if (!up_) return std::nullopt;
  return answer_read(state_, identity_);
}

std::optional<ArbiterAnswer> Witness::propose(const Proposal& proposal) {
  if (!up_) return std::nullopt;
  // A renewal keeps the record's nodes: the rules are shown only what they could have made themselves, also where a bug is planted.
  WitnessPair shown = state_;
  if (bug_ == Bug::kSoloStrikesNobody && proposal.kind == ProposalKind::kRenew && shown.record && shown.record->mode == PairMode::kSolo)
    shown.record->eligible = {shown.record->holder};
  WitnessDecision decision = decide(shown, proposal, identity_);
  if (decision.changed) {
    previous_ = std::exchange(state_, *decision.changed);
    if (bug_ == Bug::kSoloStrikesNobody && state_.record && state_.record->mode == PairMode::kSolo && previous_.record) {
      for (const NodeIncarnation& node : previous_.record->eligible)
        if (node.node != state_.record->holder.node) state_.record->eligible.push_back(node);
      decision.answer.record = state_.record;
    }
    if (!state_.record) return decision.answer;
    oracle_.granted(*state_.record);
    if (on_grant_) on_grant_(*state_.record);
  }
  return decision.answer;
}

}  // namespace understudy::sim
