// The transfer, of everything or of what may differ: pages while the guest runs, then what it dirtied meanwhile, and the disks' images,
// until an epoch is near.
#include "replication/primary_transfer.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>
#include <utility>

namespace understudy {

void PrimarySession::begin_transfer(Instant now, bool resync, Epoch base) {
  if (!resync) forget_peer();
  scrub_.restart();
  ++(resync ? stats_.resyncs : stats_.full_transfers);
  std::vector<ExtentMap> extents;
  for (std::size_t d = 0; d < disks_.size(); ++d) {
    disks_[d]->start_stream();
    extents.push_back(disks_[d]->take_map());
    if (resync)
      extents[d].merge(behind_->extents[d]);
    else if (!disks_[d]->read_only())
      extents[d].mark_all();
  }
  transfer_ = std::make_unique<Transfer>(source_.page_count(), std::move(extents));
  transfer_->progress_at = transfer_->rate_since = now;
  phase_ = Phase::kTransfer;
  progress_ = {.under_way = true, .resync = resync, .began = now};
  if (resync) transfer_->epochs = std::exchange(behind_, std::nullopt)->epochs;
  // Tracking first, then every page: a write that the copy misses is in a later round.
  if (auto tracking = source_.start_tracking(); !tracking) return break_session("start dirty tracking: " + tracking.error().text(), now);
  tracking_ = true;
  if (!resync) {
    transfer_->round.insert_all();
  } else if (auto harvested = source_.harvest(transfer_->round); !harvested) {
    return break_session("resync: harvest dirty pages: " + harvested.error().text(), now);
  }
  base_ = Epoch{};
  sending_ = gate_.open_epoch();
  post(kind::kBegin, Epoch{}, to_bytes(Begin{.full = true, .base = resync ? base : Epoch{}, .resync = resync}));
  const Session session = start_.session;
  events_.session_up(session, start_.term, start_.peer, resync ? SessionStart::kResync : SessionStart::kFull);
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
  send_chunks(now);
  while (outbox_.empty() && transfer.unconfirmed_bytes < config_.transfer_window_bytes && within_rate(now) && send_some_pages()) flush();
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
      transfer.sent[1].pages.words()[transfer.cursor] |= word & run;
      word &= ~run;
      continue;
    }
    word &= word - 1;
    transfer.sent[1].pages.insert(PageIndex{page});
    // The guest may be writing this page: then it is dirty again, and comes again.
    std::memcpy(out, source_.page(PageIndex{page}).data(), kPageSizeBytes);
    out += kPageSizeBytes;
    staged.pages.push_back(static_cast<std::uint32_t>(page));
  }
  send_pages(std::move(staged));
  return true;
}

void PrimarySession::send_chunks(Instant now) {
  Transfer& transfer = *transfer_;
  while (outbox_.empty() && transfer.unconfirmed_bytes < config_.transfer_window_bytes && within_rate(now)) {
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
    std::optional<ExtentMap::Extent> extent;
    for (; transfer.disk < disks_.size(); ++transfer.disk, transfer.disk_offset = 0)
      if ((extent = transfer.extents[transfer.disk].next(transfer.disk_offset, config_.disk_chunk_bytes))) break;
    if (!extent) return;
    transfer.disk_offset = extent->offset_bytes;
    disks_[transfer.disk]->request_chunk(
        extent->offset_bytes, static_cast<std::uint32_t>(std::min<std::uint64_t>(extent->length_bytes, config_.disk_chunk_bytes)));
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
  if (progress.parts >= transfer.older_parts) {
    std::swap(transfer.sent[0], transfer.sent[1]);
    transfer.sent[1].pages.clear();
    for (ExtentMap& map : transfer.sent[1].extents) map.clear();
    transfer.older_parts = digest_.parts();
  }
  run_transfer(now);
}

// The latest part is on its way.
void PrimarySession::count_transferred(std::size_t bytes) {
  transfer_->unconfirmed.push_back({.parts = digest_.parts(), .bytes = bytes, .release_disk = {}, .release_bytes = 0});
  transfer_->unconfirmed_bytes += bytes;
  stats_.transfer_bytes += bytes;
  progress_.bytes_sent += bytes;
}

bool PrimarySession::within_rate(Instant now) const {
  constexpr double kBurstBytes = 1 << 20;
  if (config_.transfer_bytes_per_second == 0) return true;
  const double allowed = static_cast<double>(config_.transfer_bytes_per_second) * to_ms(now - transfer_->rate_since) / 1000;
  return static_cast<double>(progress_.bytes_sent) <= allowed + kBurstBytes;
}

}  // namespace understudy
