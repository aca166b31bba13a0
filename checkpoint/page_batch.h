// Pages of an epoch on their way: page numbers and one frame of contents, cut from staging; zero pages travel as a number alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "checkpoint/disk_write.h"
#include "checkpoint/hot_pages.h"
#include "checkpoint/staging.h"
#include "net/base/result.h"

namespace understudy {

// A part of an epoch, ready to ship: a Cap'n Proto message and its bulk frames.
struct EncodedPart {
  std::vector<std::byte> payload;
  std::vector<OwnedBytes> bulk;
  std::uint64_t checksum = 0;  // goes into the epoch's digest
  std::size_t pages = 0;       // in a page batch, zero pages included
  std::size_t zero_pages = 0;
  std::size_t bulk_bytes = 0;
};

inline constexpr std::size_t kMaxBatchPages = 4096;
inline constexpr std::size_t kMaxBatchWrites = 256;

// Cuts staged pages into batches of at most `max_pages` (1 to kMaxBatchPages), numbered from `first_sequence`. Zero pages are taken out, so
// the buffer's contents are moved together: the staging copy is used up by this. Pages known to be zeros come last, in batches of their own
// of kMaxBatchPages. Call when the guest runs again.
// With `hot` (after its begin_epoch()) a page that equals what was sent last is left out, and the pages are counted there.
std::vector<EncodedPart> encode_pages(StagedPages staged, std::size_t max_pages, std::uint32_t first_sequence, HotPages* hot = nullptr);

// One batch of 1 to kMaxBatchWrites writes.
EncodedPart encode_disk_writes(std::span<const DiskWrite> writes, std::uint32_t sequence);

struct PageBatch {
  std::uint32_t sequence = 0;
  std::vector<std::uint32_t> pages;
  std::vector<std::uint32_t> zero_pages;
  OwnedBytes contents;  // pages.size() * 4 KiB
  std::uint64_t checksum = 0;
};
struct DiskBatch {
  std::uint32_t sequence = 0;
  std::vector<DiskWrite> writes;
  std::uint64_t checksum = 0;
};

// Check everything that can be checked on the batch itself, checksum last: kCorrupt names what is wrong, with values. Untrusted input.
Result<PageBatch> decode_pages(std::span<const std::byte> payload, std::span<const OwnedBytes> bulk, std::size_t page_count);
Result<DiskBatch> decode_disk_writes(std::span<const std::byte> payload, std::span<const OwnedBytes> bulk,
                                     std::span<const std::uint64_t> disk_bytes);

}  // namespace understudy
