// What a peer lacks after a break: kept as it was for a while, then known only by its place; and what a transfer that was broken off owes.
#include <algorithm>
#include <utility>

#include "replication/primary_transfer.h"

namespace understudy {

// No longer what the peer lacks, but only where.
void PrimarySession::fall_behind(Instant now) {
  if (config_.resync_within <= Duration{} || !tracking_) return forget_peer();
  Behind behind{.peer = retained_->peer,
                .epochs = {retained_->base.epoch},
                .broken_off = owed_.has_value(),
                .extents = {},
                .until = now + config_.resync_within};
  for (const DiskStream* disk : disks_) behind.extents.emplace_back(disk->capacity_bytes());
  const auto note = [&behind](std::size_t disk, const std::vector<DiskWrite>& writes) {
    for (const DiskWrite& write : writes) behind.extents[disk].mark(write.offset_bytes, write.length_bytes);
  };
  for (const InFlight& epoch : in_flight_) {
    behind.epochs.push_back(epoch.at.epoch);
    for (std::size_t d = 0; d < disks_.size(); ++d) note(d, epoch.writes[d]);
  }
  for (std::size_t d = 0; d < disks_.size(); ++d) {
    note(d, unsent_writes_[d]);
    unsent_writes_[d].clear();
    if (owed_) behind.extents[d].merge(owed_->extents[d]);
    disks_[d]->start_map();
  }
  in_flight_.clear();  // gives its pages back
  hot_.reset();
  if (owed_) source_.merge_back(owed_->pages);
  owed_.reset();
  retained_.reset();
  behind_ = std::move(behind);
}

bool PrimarySession::can_resync(const Welcome& welcome) const {
  if (!behind_) return false;
  if (!welcome.image_whole) return behind_->broken_off && welcome.overwritten_by == config_.incarnation;
  return welcome.committed_epoch.raw() != 0 && welcome.committed_term <= start_.term &&
         std::ranges::find(behind_->epochs, welcome.committed_epoch) != behind_->epochs.end();
}

// What the transfer has not sent, and what of it was sent and may not have arrived.
PrimarySession::Owed PrimarySession::still_owed() {
  Transfer& transfer = *transfer_;
  Owed owed = std::move(transfer.sent[0]);
  owed.pages.merge(transfer.sent[1].pages);
  owed.pages.merge(transfer.round);
  for (std::size_t d = 0; d < disks_.size(); ++d) owed.extents[d].merge(transfer.sent[1].extents[d]);
  transfer.for_each_left(
      [&owed](std::size_t disk, const ExtentMap::Extent& extent) { owed.extents[disk].mark(extent.offset_bytes, extent.length_bytes); });
  return owed;
}

TransferProgress PrimarySession::transfer_progress(Instant now) const {
  TransferProgress progress = progress_;
  if (!progress.under_way) return progress;
  progress.took = now - progress.began;
  if (!transfer_) return progress;
  progress.bytes_left = transfer_->round.count() * kPageSizeBytes;
  transfer_->for_each_left([&progress](std::size_t, const ExtentMap::Extent& extent) { progress.bytes_left += extent.length_bytes; });
  return progress;
}

void PrimarySession::end_transfer(Instant now) {
  owed_.reset();
  progress_.took = now - progress_.began;
  progress_.under_way = false;
}

}  // namespace understudy
