// The full transfer: every page while the guest runs, then what it dirtied meanwhile, and the disks' images, until an epoch is near.
#include "replication/primary_transfer.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>
#include <utility>

namespace understudy {

void PrimarySession::begin_transfer(Instant now) {
  forget_peer();
  scrub_.restart();
  ++stats_.full_transfers;
  phase_ = Phase::kTransfer;
  for (DiskStream* disk : disks_) disk->start_stream();
  // Tracking first, then every page: a write that the copy misses is in a later round.
  if (auto tracking = source_.start_tracking(); !tracking) return break_session("start dirty tracking: " + tracking.error().text(), now);
  tracking_ = true;
  transfer_ = std::make_unique<Transfer>(source_.page_count());
  transfer_->progress_at = now;
  base_ = Epoch{};
  sending_ = gate_.open_epoch();
  post(kind::kBegin, Epoch{}, to_bytes(Begin{.full = true, .base = Epoch{}}));
  const Session session = start_.session;
  events_.session_up(session, start_.term, start_.peer, true);
  if (phase_ == Phase::kTransfer && start_.session == session) run_transfer(now);
}

void PrimarySession::run_transfer(Instant now) {
  flush();
  if (capture_) return run_capture(now);
  Transfer& transfer = *transfer_;
  if (!transfer.unconfirmed.empty() && now - transfer.progress_at > config_.window.ack_timeout)
    return break_session(
        "full transfer: no progress of the secondary for " + std::to_string(static_cast<long>(to_ms(now - transfer.progress_at))) + " ms",
        now);
  send_chunks();
  while (outbox_.empty() && transfer.unconfirmed_bytes < config_.transfer_window_bytes && send_some_pages()) flush();
  if (!transfer.round.empty() || transfer.disk < disks_.size() || !has_room()) return;

  if (auto harvested = source_.harvest(transfer.round); !harvested)
    return break_session("full transfer: harvest dirty pages: " + harvested.error().text(), now);
  transfer.cursor = 0;
  if (transfer.round.count() > config_.final_round_pages && transfer.rounds < config_.max_rounds) {
    ++transfer.rounds;
    return;
  }
  source_.merge_back(transfer.round);  // for the pause's harvest
  transfer.round.clear();
  end_epoch(now);
}

bool PrimarySession::send_some_pages() {
  Transfer& transfer = *transfer_;
  const auto words = transfer.round.words();
  while (transfer.cursor < words.size() && words[transfer.cursor] == 0) ++transfer.cursor;
  if (transfer.cursor == words.size()) return false;
  StagingLease lease = staging_.try_acquire();
  if (!lease) return false;
  StagedPages staged{.buffer = std::move(lease), .pages = {}};
  std::byte* out = staged.buffer.bytes().data();
  while (transfer.cursor < words.size() && staged.pages.size() < staged.buffer.capacity_pages() &&
         staged.zero_pages.size() < StagedPages::kMaxZeroPages) {
    std::uint64_t& word = words[transfer.cursor];
    if (word == 0) {
      ++transfer.cursor;
      continue;
    }
    const auto bit = static_cast<std::size_t>(std::countr_zero(word));
    const std::size_t page = transfer.cursor * 64 + bit;
    // What the guest never touched, or gave back, is not read: that alone would allocate it.
    if (const std::size_t absent = source_.absent_run(PageIndex{page}, 64 - bit); absent > 0) {
      const std::uint64_t run = (absent == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << absent) - 1) << bit;
      for (std::uint64_t zeros = word & run; zeros != 0; zeros &= zeros - 1)
        staged.zero_pages.push_back(static_cast<std::uint32_t>(transfer.cursor * 64 + static_cast<std::size_t>(std::countr_zero(zeros))));
      word &= ~run;
      continue;
    }
    word &= word - 1;
    // The guest may be writing this page: then it is dirty again, and comes again.
    std::memcpy(out, source_.page(PageIndex{page}).data(), kPageSizeBytes);
    out += kPageSizeBytes;
    staged.pages.push_back(static_cast<std::uint32_t>(page));
  }
  send_pages(std::move(staged));
  return true;
}

void PrimarySession::send_chunks() {
  Transfer& transfer = *transfer_;
  while (outbox_.empty() && transfer.unconfirmed_bytes < config_.transfer_window_bytes) {
    if (transfer.chunk_asked) {
      auto chunk = disks_[transfer.disk]->poll_chunk();
      if (!chunk) return;
      transfer.chunk_asked = false;
      const auto disk = static_cast<std::uint16_t>(transfer.disk);
      for (DiskWrite& write : *chunk) {
        write.disk = disk;
        transfer.disk_offset += write.length_bytes;
      }
      send_disk_writes(disk, *chunk);
      flush();
      continue;
    }
    send_writes_since();
    flush();
    while (transfer.disk < disks_.size() &&
           (disks_[transfer.disk]->read_only() || transfer.disk_offset >= disks_[transfer.disk]->capacity_bytes())) {
      ++transfer.disk;
      transfer.disk_offset = 0;
    }
    if (transfer.disk == disks_.size()) return;
    const std::uint64_t left = disks_[transfer.disk]->capacity_bytes() - transfer.disk_offset;
    disks_[transfer.disk]->request_chunk(transfer.disk_offset,
                                         static_cast<std::uint32_t>(std::min<std::uint64_t>(left, config_.disk_chunk_bytes)));
    transfer.chunk_asked = true;
  }
}

// The guest's writes travel at once, so that their memory comes back; applied in this order, they end up right whatever the chunks hold.
void PrimarySession::send_writes_since() {
  Transfer& transfer = *transfer_;
  for (std::size_t d = 0; d < disks_.size(); ++d) {
    auto writes = disks_[d]->take_writes();
    if (writes.empty()) continue;
    std::size_t bytes = 0;
    for (DiskWrite& write : writes) {
      write.disk = static_cast<std::uint16_t>(d);
      bytes += kept_bytes(write);
    }
    send_disk_writes(static_cast<std::uint16_t>(d), writes);
    transfer.unconfirmed.back().release_disk = d;
    transfer.unconfirmed.back().release_bytes = bytes;
  }
}

void PrimarySession::on_progress(const Progress& progress, Instant now) {
  if (phase_ != Phase::kTransfer) return;  // said before it saw the first manifest
  if (progress.parts > digest_.parts()) {
    ++stats_.corrupt_messages;
    return break_session("the secondary confirms " + std::to_string(progress.parts) + " parts of " + std::to_string(digest_.parts()), now);
  }
  Transfer& transfer = *transfer_;
  while (!transfer.unconfirmed.empty() && transfer.unconfirmed.front().parts <= progress.parts) {
    const auto& part = transfer.unconfirmed.front();
    transfer.unconfirmed_bytes -= part.bytes;
    if (part.release_disk) disks_[*part.release_disk]->release(part.release_bytes);
    transfer.unconfirmed.pop_front();
    transfer.progress_at = now;
  }
  run_transfer(now);
}

}  // namespace understudy
