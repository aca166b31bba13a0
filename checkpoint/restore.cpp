#include "checkpoint/restore.h"

#include <cstring>
#include <string>
#include <utility>

#include "net/base/check.h"

namespace understudy {

void write_pages(const PageBatch& batch, CheckpointTarget& target) {
  const std::byte* from = batch.contents.bytes.data();
  for (const std::uint32_t page : batch.pages) {
    std::memcpy(target.page_for_writing(PageIndex{page}).data(), from, kPageSizeBytes);
    from += kPageSizeBytes;
  }
  const std::span<const std::uint32_t> zeros = batch.zero_pages;
  for (std::size_t first = 0, end = 0; first < zeros.size(); first = end) {
    for (end = first + 1; end < zeros.size() && zeros[end] - zeros[first] == end - first;) ++end;
    target.zero_pages(PageIndex{zeros[first]}, end - first);
  }
}

EpochStage::EpochStage(StageLimits limits) : limits_{limits}, seen_{limits.page_count} {}

void EpochStage::begin(Epoch base) {
  base_ = base;
  digest_ = EpochDigest{};
  seen_.clear();
  pages_.clear();
  writes_.clear();
  kept_disk_bytes_ = 0;
  state_ = {};
  whole_ = false;
}

Result<void> EpochStage::check_sequence(std::uint32_t sequence) const {
  if (sequence == digest_.parts()) return {};
  return Error{ErrorCode::kCorrupt, "part " + std::to_string(sequence) + " arrived where part " + std::to_string(digest_.parts()) +
                                        " was expected: one is lost, repeated or out of order"};
}

Result<void> EpochStage::note(const PageBatch& batch) {
  US_TRY(check_sequence(batch.sequence));
  digest_.add_pages(batch.checksum, batch.pages.size() + batch.zero_pages.size(), batch.zero_pages.size());
  return {};
}

Result<void> EpochStage::note(const DiskBatch& batch) {
  US_TRY(check_sequence(batch.sequence));
  std::uint64_t bytes = 0;
  for (const DiskWrite& write : batch.writes) bytes += write.length_bytes;
  digest_.add_disk_writes(batch.checksum, batch.writes.size(), bytes);
  return {};
}

Result<void> EpochStage::add(PageBatch batch) {
  for (const auto* pages : {&batch.pages, &batch.zero_pages}) {
    for (const std::uint32_t page : *pages) {
      if (seen_.contains(PageIndex{page}))
        return Error{ErrorCode::kCorrupt,
                     "page " + std::to_string(page) + " twice in one epoch, again in part " + std::to_string(batch.sequence)};
    }
  }
  US_TRY(note(batch));
  for (const auto* pages : {&batch.pages, &batch.zero_pages})
    for (const std::uint32_t page : *pages) seen_.insert(PageIndex{page});
  pages_.push_back(std::move(batch));
  return {};
}

Result<void> EpochStage::add(DiskBatch batch) {
  US_TRY(note(batch));
  for (const DiskWrite& write : batch.writes) kept_disk_bytes_ += kept_bytes(write);
  if (kept_disk_bytes_ > limits_.max_disk_bytes)
    return Error{ErrorCode::kCorrupt, "disk writes of " + std::to_string(kept_disk_bytes_) + " bytes in one epoch; at most " +
                                          std::to_string(limits_.max_disk_bytes) + " are staged"};
  for (DiskWrite& write : batch.writes) writes_.push_back(std::move(write));
  return {};
}

Result<void> EpochStage::verify(const Manifest& manifest, OwnedBytes state, const CheckpointTarget& target) {
  if (manifest.base != base_)
    return Error{ErrorCode::kCorrupt,
                 "it builds on epoch " + std::to_string(manifest.base.raw()) + ", the image is at " + std::to_string(base_.raw())};
  if (state.bytes.size() != manifest.state_bytes || state.bytes.size() > kMaxStateBytes)
    return Error{ErrorCode::kCorrupt, "a state of " + std::to_string(state.bytes.size()) + " bytes; the manifest says " +
                                          std::to_string(manifest.state_bytes) + ", the limit is " + std::to_string(kMaxStateBytes)};
  const Manifest found = digest_.close(manifest.term, manifest.epoch, manifest.base, state.bytes, manifest.ended);
  if (found.part_count != manifest.part_count || found.page_count != manifest.page_count ||
      found.zero_page_count != manifest.zero_page_count || found.disk_write_count != manifest.disk_write_count ||
      found.disk_bytes != manifest.disk_bytes)
    return Error{ErrorCode::kCorrupt, "it came with " + std::to_string(found.part_count) + " parts, " + std::to_string(found.page_count) +
                                          " pages and " + std::to_string(found.disk_write_count) + " disk writes; the manifest says " +
                                          std::to_string(manifest.part_count) + ", " + std::to_string(manifest.page_count) + " and " +
                                          std::to_string(manifest.disk_write_count)};
  if (found.digest != manifest.digest)
    return Error{ErrorCode::kCorrupt, "digest " + std::to_string(found.digest) + "; the manifest says " + std::to_string(manifest.digest)};
  if (auto fits = target.check_state(state.bytes); !fits) return std::move(fits.error()).within("machine state");
  state_ = std::move(state);
  whole_ = true;
  return {};
}

void EpochStage::apply(CheckpointTarget& target) {
  US_CHECK(whole_);
  for (const PageBatch& batch : pages_) write_pages(batch, target);
  pages_.clear();
}

std::vector<DiskWrite> EpochStage::take_disk_writes() {
  US_CHECK(whole_);
  return std::exchange(writes_, {});
}

OwnedBytes EpochStage::take_state() {
  US_CHECK(whole_);
  return std::exchange(state_, {});
}

}  // namespace understudy
