// The page by which the guest's load and the measuring program know of each other: it lies somewhere in guest memory, and the host finds it
// by its magic. Both are ours and run on x86-64.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

namespace understudy::bench {

// The guest stores them when it begins, not before: no file or other page that holds this program has them side by side.
inline constexpr std::uint64_t kLoadMagic = 0x756e64657273746cU;
inline constexpr std::uint64_t kLoadMagicAgain = ~kLoadMagic;

inline constexpr std::uint32_t kIdle = ~std::uint32_t{0};  // in place of a number of pages: the load sleeps
inline constexpr std::uint32_t kMaxLoadPages = 16384;

// Gaps by length, in eighths of a power of two: bucket b begins at 2^(b / 8) * (8 + b % 8) / 8 ticks of the TSC.
inline constexpr std::uint32_t kGapBuckets = 44 * 8;
inline constexpr std::uint32_t gap_bucket(std::uint64_t ticks) {
  if (ticks < 8) return 0;
  const auto power = static_cast<std::uint32_t>(std::bit_width(ticks) - 1);
  const auto bucket = power * 8 + static_cast<std::uint32_t>((ticks >> (power - 3)) & 7);
  return bucket < kGapBuckets ? bucket : kGapBuckets - 1;
}
inline constexpr std::uint64_t gap_bucket_begins_at(std::uint32_t bucket) {
  const std::uint32_t power = bucket / 8;
  return power < 3 ? 0 : std::uint64_t{8 + bucket % 8} << (power - 3);
}

struct LoadPage {
  std::atomic<std::uint64_t> magic;
  std::atomic<std::uint64_t> magic_again;
  // Written by the host, which is no harm to a checkpoint: the load writes to this page all the time.
  std::atomic<std::uint32_t> wanted_pages;   // of the working set, up to kMaxLoadPages, or kIdle
  std::atomic<std::uint32_t> working_pages;  // what the load does at present
  std::atomic<std::uint64_t> writes;         // one a page, in turn; without pages, the work between two of them
  // Of the TSC, between two looks at it: everything that stopped the load for longer than a few microseconds.
  std::array<std::atomic<std::uint32_t>, kGapBuckets> gaps;
};
inline constexpr std::uint64_t kGapThresholdTicks = 30'000;  // about 10 us

static_assert(sizeof(LoadPage) <= 4096 && std::atomic<std::uint64_t>::is_always_lock_free);

}  // namespace understudy::bench
