#include "replication/frame_ring.h"

#include <cstring>

#include <sys/mman.h>

#include "net/base/check.h"

namespace understudy {

namespace {

// In huge pages, where the kernel has them to give: touching eight MiB of small ones takes longer than making a virtual machine.
std::byte* touched_block(std::size_t capacity_bytes) {
  constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;
  const std::size_t rounded = (capacity_bytes + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
  auto* const block = static_cast<std::byte*>(std::aligned_alloc(kHugePageBytes, rounded));
  US_CHECK(block != nullptr);
  static_cast<void>(::madvise(block, rounded, MADV_HUGEPAGE));
  std::memset(block, 0, capacity_bytes);
  return block;
}

}  // namespace

FrameRing::FrameRing(std::size_t capacity_bytes, std::size_t capacity_frames)
    : capacity_bytes_{capacity_bytes}, block_{touched_block(capacity_bytes)}, entries_(capacity_frames) {}

std::size_t FrameRing::place_for(std::size_t bytes) const {
  if (count_ == 0) return bytes <= capacity_bytes_ ? 0 : kNoPlace;
  const std::size_t begin = entries_[first_].offset;
  const Entry& last = entries_[(first_ + count_ - 1) % entries_.size()];
  const std::size_t end = last.offset + last.length;
  if (last.offset >= begin) {  // one stretch: room behind it, or from the block's start
    if (bytes <= capacity_bytes_ - end) return end;
    return bytes <= begin ? 0 : kNoPlace;
  }
  return bytes <= begin - end ? end : kNoPlace;  // wrapped: room between its end and its begin
}

bool FrameRing::push(const FrameOffload& offload, std::span<const std::span<const std::byte>> pieces, Epoch epoch, Instant at) {
  std::size_t length = 0;
  for (const auto piece : pieces) length += piece.size();
  if (length == 0 || !fits(length)) return false;
  const std::size_t offset = place_for(length);
  std::byte* out = block_.get() + offset;
  for (const auto piece : pieces) {
    if (piece.empty()) continue;
    std::memcpy(out, piece.data(), piece.size());
    out += piece.size();
  }
  entries_[(first_ + count_) % entries_.size()] = Entry{offset, length, epoch, at, offload};
  ++count_;
  bytes_ += length;
  return true;
}

void FrameRing::pop_front() {
  US_CHECK(count_ > 0);
  bytes_ -= entries_[first_].length;
  first_ = (first_ + 1) % entries_.size();
  --count_;
}

std::size_t FrameRing::drop_all_but(std::size_t keep) {
  if (count_ <= keep) return 0;
  const std::size_t dropped = count_ - keep;
  count_ = keep;
  bytes_ = keep == 0 ? 0 : entries_[first_].length;
  return dropped;
}

}  // namespace understudy
