// A node as bytes and back: every field, so that a replay can begin anywhere.
#include "failover/node_archive.h"

namespace understudy {

template <class Archive>
void Node::transfer_fields(Archive& archive) {
  archive(now_, started_);
  archive(self_, term_, promise_, stored_term_, storing_term_, committed_, has_history_, why_);
  archive(role_, guest_, guest_term_, image_whole_, image_source_, fenced_at_, may_rejoin_);
  archive(peer_, heartbeat_sequence_, next_heartbeat_at_, beat_now_, probed_, started_at_, acked_at_, progress_at_, sick_since_,
          promised_since_, broken_at_, announced_at_, moved_at_, refusal_);
  archive(record_, no_record_, store_, unanswered_since_, goal_, stage_, at_least_, promising_, proposal_, asks_, gate_orders_, requests_,
          goal_asked_from_, ask_at_, recheck_at_, applying_, store_again_at_, store_failed_, command_, confirmation_);
  archive(ended_, end_settled_, stored_end_, guest_note_, broken_, candidate_for_broken_, took_over_broken_at_, restarting_);
  archive(session_, session_at_, session_down_at_, protecting_, protecting_peer_, open_epoch_, gate_, handover_);
  archive(orders_, hold_ends_at_, orders_asked_, orders_stored_, ordering_, handed_over_, fencing_for_, fenced_for_, fence_again_at_,
          unfit_since_, wants_no_peer_, machine_spent_, joins_again_);
}

std::vector<std::byte> Node::save() const {
  std::vector<std::byte> out;
  ArchiveWriter archive{out};
  archive(config_);
  const_cast<Node&>(*this).transfer_fields(archive);  // as the archive does with a struct
  return out;
}

Result<Node> Node::restore(std::span<const std::byte> image) {
  ArchiveReader archive{image};
  NodeConfig config;
  archive(config);
  Node node{std::move(config)};
  node.transfer_fields(archive);
  if (!archive.ok() || archive.bytes_left() != 0) return Error{ErrorCode::kCorrupt, "the saved node is damaged"};
  return node;
}

}  // namespace understudy
