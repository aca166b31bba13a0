// Ending epochs: when there is room, pause and capture; then, with the guest running again, encode and ship.
#include <algorithm>
#include <string>
#include <utility>

#include "net/base/check.h"
#include "net/base/log.h"
#include "replication/primary_transfer.h"

namespace understudy {

void PrimarySession::output_waits(Epoch epoch, Instant now) {
  if (epoch != gate_.open_epoch()) return;  // said before that epoch ended
  pacer_.output_waits(now);
  if (phase_ == Phase::kEpochs) tick(now);
}

void PrimarySession::run_epochs(Instant now) {
  flush();
  if (window_.overdue(now))
    return break_session("no ack of epoch " + std::to_string(in_flight_.front().at.epoch.raw()) + " for " +
                             std::to_string(static_cast<long>(to_ms(config_.window.ack_timeout))) + " ms",
                         now);
  if (capture_) return run_capture(now);
  if (final_ == Final::kSent || final_ == Final::kDone) return;  // the guest stands at its last epoch
  if (now < pacer_.end_at() && final_ != Final::kWanted && !resume_at_boundary_) return;
  if (has_room()) {
    put_off_ = false;
    return end_epoch(now);
  }
  // The epoch goes on: the guest runs, its output waits.
  if (!std::exchange(put_off_, true)) ++stats_.epochs_put_off;
}

bool PrimarySession::has_room() const { return outbox_.empty() && !window_.full() && staging_.free_buffers() > 0; }

void PrimarySession::end_epoch(Instant now) {
  US_CHECK(!capture_);
  capture_ = std::make_unique<EpochCapture>(source_, clock_);
  sending_ = gate_.open_epoch();
  report_ = EpochReport{};
  report_.full_transfer = phase_ == Phase::kTransfer;
  hot_.begin_epoch(sending_, window_.committed());
  auto captured = capture_->pause(config_.pause_deadline);
  if (captured) captured = capture_->save();
  if (captured) captured = capture_->harvest();
  if (!captured) {
    // Nothing was sent: the epoch just goes on, and ends at a later try.
    drop_capture();
    ++stats_.epochs_aborted;
    pacer_.began(now);
    if (not_ended_ != captured.error().text()) {
      not_ended_ = captured.error().text();
      log(Severity::kWarning, "epoch not ended", {{"epoch", gate_.open_epoch()}, {"reason", not_ended_}});
    }
    if (final_ == Final::kWanted) fail_final(captured.error().text());
    return;
  }
  output_since_ = pacer_.output_since();
  pacer_.began(now);
  for (std::size_t d = 0; d < disks_.size(); ++d) {
    for (DiskWrite& write : disks_[d]->take_writes()) {
      write.disk = static_cast<std::uint16_t>(d);
      unsent_writes_[d].push_back(std::move(write));
    }
  }
  run_capture(now);
}

void PrimarySession::run_capture(Instant now) {
  if (capture_->copy(staging_)) return finish_capture(now);
  // More dirty pages than staging: ship what is staged, so that its buffers come back; the guest stands meanwhile.
  if (!std::exchange(in_chunks_, true)) ++stats_.pauses_in_chunks;
  for (StagedPages& staged : capture_->take_staged()) send_pages(std::move(staged));
  flush();
  if (now - capture_->paused_at() <= config_.max_pause) return;
  ++stats_.epochs_aborted;
  break_session("epoch " + std::to_string(gate_.open_epoch().raw()) + " dirtied more than " +
                    std::to_string(staging_.buffers() * staging_.pages_each()) +
                    " pages of staging, and the link did not carry it within " +
                    std::to_string(static_cast<long>(to_ms(config_.max_pause))) + " ms",
                now);
}

void PrimarySession::finish_capture(Instant now) {
  const Epoch epoch = gate_.open_epoch();
  gate_.close_epoch(epoch);  // the guest still stands: what it sends from its resume on belongs to the next
  const bool is_final = final_ == Final::kWanted;
  const auto ended = source_.ended();
  auto staged = capture_->take_staged();
  // Only of a peer's image that is whole: in the first epoch after a transfer, all is fresh.
  const Scrub::Run run = first_committed_ && !is_final && !ended ? scrub_.due(now) : Scrub::Run{};
  PageCheck check;
  if (run.count > 0) check = capture_->check(run.first, run.count);
  resume_at_boundary_ = false;
  not_ended_.clear();
  if (auto resumed = capture_->resume(is_final || ended); !resumed)
    return break_session("epoch " + std::to_string(epoch.raw()) + ": " + resumed.error().text(), now);
  report_.timings = capture_->timings();

  const Instant encode_began = clock_.now();
  for (StagedPages& pages : staged) send_pages(std::move(pages));
  InFlight sent{.at = {start_.term, epoch},
                .harvest = capture_->finish(),
                .writes = std::exchange(unsent_writes_, std::vector<std::vector<DiskWrite>>(disks_.size())),
                .release_bytes = std::vector<std::size_t>(disks_.size()),
                .report = {},
                .resumed_at = encode_began,
                .output_waited = {}};
  for (std::size_t d = 0; d < disks_.size(); ++d) {
    for (const DiskWrite& write : sent.writes[d]) sent.release_bytes[d] += kept_bytes(write);
    if (!sent.writes[d].empty()) send_disk_writes(static_cast<std::uint16_t>(d), sent.writes[d]);
    report_.disk_writes += sent.writes[d].size();
    report_.disk_bytes += sent.release_bytes[d];
  }
  const OwnedBytes state = capture_->state();
  report_.sent_bytes += state.bytes.size();
  report_.dirty_pages = sent.harvest.pages().count();
  post(kind::kManifest, epoch, encode_manifest(digest_.close(start_.term, epoch, base_, state.bytes, ended.value_or(""))), {state});
  if (run.count > 0) {
    const CheckPages question{.pages = std::move(check), .state_hash = hash_of_state(state.bytes)};
    post(kind::kCheckPages, epoch, to_bytes(question));
    scrub_.sent(run, {start_.term, epoch}, now);
  }
  report_.encode = clock_.now() - encode_began;
  report_.hot_pages = hot_.hot_count();
  const Duration looks = report_.timings.copy + report_.encode;
  if (const auto looked = static_cast<Duration::rep>(report_.dirty_pages); looked > 0 && looks > Duration{}) hot_.measured(looks / looked);
  report_.ended = ended.has_value();
  sent.report = report_;
  if (output_since_) sent.output_waited = capture_->paused_at() - *output_since_;
  pacer_.paid({.pause = report_.timings.stood_still,
               // A hot page is reported always, and costs the guest no fault.
               .faults = source_.protection_fault() *
                         static_cast<Duration::rep>(report_.dirty_pages - std::min(report_.dirty_pages, report_.hot_pages)),
               .link_bytes = report_.sent_bytes});

  if (transfer_) {
    // The ack of the first epoch confirms all that went before it.
    for (const auto& part : transfer_->unconfirmed)
      if (part.release_disk) sent.release_bytes[*part.release_disk] += part.release_bytes;
    owed_ = still_owed();
    transfer_.reset();
    phase_ = Phase::kEpochs;
  }
  window_.sent(epoch, now);
  in_flight_.push_back(std::move(sent));
  ++stats_.epochs_sent;
  base_ = epoch;
  digest_ = EpochDigest{};
  drop_capture();
  if (is_final) {
    final_ = Final::kSent;
    final_epoch_ = epoch;
  }
  flush();
}

void PrimarySession::drop_capture() {
  capture_.reset();
  in_chunks_ = false;
}

void PrimarySession::send_pages(StagedPages staged) {
  // The rounds of a full transfer are no epoch: what the guest writes meanwhile is neither hot nor cold.
  HotPages* const hot = capture_ ? &hot_ : nullptr;
  for (EncodedPart& part : encode_pages(std::move(staged), config_.batch_pages, digest_.parts(), hot)) {
    digest_.add_pages(part.checksum, part.pages, part.zero_pages);
    report_.zero_pages += part.zero_pages;
    report_.changed_pages += part.pages;
    report_.sent_bytes += part.bulk_bytes;
    if (transfer_ && !capture_) count_transferred(part.bulk_bytes);
    post(kind::kPages, sending_, part.payload, std::move(part.bulk));
  }
}

void PrimarySession::send_disk_writes(std::uint16_t disk, std::span<const DiskWrite> writes) {
  constexpr std::size_t kMaxBatchBytes = std::size_t{4} << 20;
  US_CHECK(disk < disks_.size());
  if (transfer_)
    for (const DiskWrite& write : writes) transfer_->sent[1].extents[disk].mark(write.offset_bytes, write.length_bytes);
  while (!writes.empty()) {
    std::size_t count = 0;
    std::size_t bytes = 0;
    std::size_t kept = 0;
    while (count < writes.size() && count < kMaxBatchWrites && kept < kMaxBatchBytes) {
      kept += kept_bytes(writes[count]);
      bytes += writes[count++].length_bytes;
    }
    EncodedPart part = encode_disk_writes(writes.first(count), digest_.parts());
    digest_.add_disk_writes(part.checksum, count, bytes);
    report_.sent_bytes += part.bulk_bytes;
    if (transfer_ && !capture_) count_transferred(part.bulk_bytes);
    post(kind::kDiskWrites, sending_, part.payload, std::move(part.bulk));
    writes = writes.subspan(count);
  }
}

// ----------------------------------------------------------------------------------------------------------- switchover

void PrimarySession::final_epoch(Instant now) {
  if (!is_protecting() || final_ != Final::kNone || source_.ended()) {
    events_.final_epoch_failed(final_ != Final::kNone ? "a final epoch is under way already"
                               : source_.ended()      ? *source_.ended()
                                                      : "no session with a whole image is up");
    return;
  }
  final_ = Final::kWanted;
  tick(now);
}

Result<void> PrimarySession::resume_guest(Instant now) {
  const Final was = std::exchange(final_, Final::kNone);
  if (was != Final::kSent && was != Final::kDone) return {};
  pacer_.began(now);
  next_tick_ = due(now);
  return source_.resume();
}

// ---------------------------------------------------------------------------------------------- a guest that ends by itself

void PrimarySession::guest_ended(Instant now) {
  // A switchover under way is over: there is nothing to hand over.
  fail_final("the guest ended by itself");
  pacer_.began(now - config_.pacing.longest);
  tick(now);
}

Result<void> PrimarySession::resume_rebooted(Instant now) {
  fail_final("the guest was started anew");
  if (phase_ != Phase::kEpochs) return source_.resume();
  resume_at_boundary_ = true;
  tick(now);
  return {};
}

void PrimarySession::fail_final(const std::string& reason) {
  const Final was = final_;
  if (was != Final::kWanted && was != Final::kSent) return;
  final_ = Final::kNone;
  if (was == Final::kSent) {
    if (auto resumed = source_.resume(); !resumed)
      log(Severity::kError, "guest not resumed after a failed final epoch", {{"reason", resumed.error().text()}});
  }
  events_.final_epoch_failed(reason);
}

}  // namespace understudy
