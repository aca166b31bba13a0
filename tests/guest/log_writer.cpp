#include "tests/guest/log_writer.h"

#include "tests/guest/report.h"

namespace understudy::guest {
namespace {

constexpr std::size_t kScanSectors = 128;  // per request
constexpr std::size_t kScanRequests = 4;   // in flight at once
constinit std::array<std::uint64_t, kLogMaxSlots> scan_sequences{};
alignas(4096) constinit std::array<BlockLogRecord, kScanSectors * kScanRequests> scan_buffer{};

}  // namespace

void LogWriter::start(BlockDevice& disk, std::uint64_t first_sector, std::uint64_t slots, std::uint32_t boot) {
  disk_ = &disk;
  first_sector_ = first_sector;
  slots_ = slots;
  boot_ = boot;
  BlockLogScan scan{std::span{scan_sequences}.first(slots)};
  for (std::uint64_t slot = 0; slot < slots; slot += scan_buffer.size()) {
    const std::uint64_t round = slots - slot < scan_buffer.size() ? slots - slot : scan_buffer.size();
    for (std::uint64_t at = 0; at < round; at += kScanSectors) {
      const std::uint64_t sectors = round - at < kScanSectors ? round - at : kScanSectors;
      disk.read(first_sector + slot + at, &scan_buffer[at], static_cast<std::uint32_t>(sectors * kLogRecordBytes));
    }
    disk.wait_all();
    for (std::uint64_t i = 0; i < round; ++i) scan.add(slot + i, scan_buffer[i]);
  }
  const BlockLogSummary found = scan.summary();
  report("log scanned", {{" slots=", slots}, {" last=", found.last_contiguous}, {" damaged=", found.damaged_sectors}});
  if (!found.kept_every_flushed_record())
    violation("the log lost flushed records", {{" flushed=", found.flushed_through}, {" found=", found.last_contiguous}});
  last_ = flushed_ = found.last_contiguous;
  published().log_scanned_last = last_;
  published().log_flushed = flushed_;
}

void LogWriter::append(std::span<const std::uint64_t> payload) {
  if (pending_ == records_.size()) violation("more log records appended than a commit takes", {});
  BlockLogRecord& record = records_[pending_++];
  record.sequence = ++last_;
  record.flushed_through = flushed_;
  record.boot = boot_;
  record.payload_words = static_cast<std::uint32_t>(payload.size());
  record.payload = {};
  for (std::size_t i = 0; i < payload.size() && i < record.payload.size(); ++i) record.payload[i] = payload[i];
  seal(record);
}

void LogWriter::commit() {
  if (pending_ == 0) return;
  for (std::size_t i = 0; i < pending_; ++i)
    disk_->write(first_sector_ + slot_of(records_[i].sequence, slots_), &records_[i], kLogRecordBytes);
  disk_->wait_all();
  disk_->flush();
  disk_->wait_all();
  pending_ = 0;
  flushed_ = last_;
  published().log_flushed = flushed_;
}

void LogWriter::read_back() {
  if (flushed_ == 0) return;
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  // The oldest records may have been in flight when an earlier boot ended.
  const std::uint64_t kept = slots_ - kLogMaxUnflushed;
  const std::uint64_t sequence = flushed_ - random_ % (flushed_ < kept ? flushed_ : kept);
  const std::uint64_t slot = slot_of(sequence, slots_);
  disk_->read(first_sector_ + slot, &read_record_, kLogRecordBytes);
  disk_->wait_all();
  if (!is_valid(read_record_, slot, slots_) || read_record_.sequence != sequence)
    violation("a log record read back is not what was written", {{" sequence=", sequence}, {" found=", read_record_.sequence}});
  published().log_read_back = ++read_back_;
}

}  // namespace understudy::guest
