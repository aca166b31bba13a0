// The block log's format, and the judge of a disk that was cut off at any moment.
#include "tests/guest/block_log.h"

#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace understudy::guest {
namespace {

constexpr std::uint64_t kSlots = 64;
using Disk = std::vector<BlockLogRecord>;

BlockLogRecord make(std::uint64_t sequence, std::uint64_t flushed) {
  BlockLogRecord record{};
  record.sequence = sequence;
  record.flushed_through = flushed;
  record.payload[0] = sequence * 3;
  seal(record);
  return record;
}

BlockLogSummary scan(const Disk& disk) {
  std::vector<std::uint64_t> memory(disk.size());
  BlockLogScan scan{memory};
  for (std::size_t slot = 0; slot < disk.size(); ++slot) scan.add(slot, disk[slot]);
  return scan.summary();
}

// Bursts of `burst` records, the last one flushed being `flushed`.
Disk written_through(std::uint64_t flushed, std::uint64_t burst) {
  Disk disk(kSlots);
  for (std::uint64_t s = 1; s <= flushed; ++s) disk[slot_of(s, kSlots)] = make(s, (s - 1) / burst * burst);
  return disk;
}

TEST(BlockLog, Crc32cIsCastagnoli) {
  const std::string_view text = "123456789";
  EXPECT_EQ(crc32c({reinterpret_cast<const unsigned char*>(text.data()), text.size()}), 0xE3069283U);
}

TEST(BlockLog, RecordIsValidOnlyInItsSlotAndUntouched) {
  const BlockLogRecord good = make(70, 64);
  EXPECT_TRUE(is_valid(good, 5, kSlots));
  EXPECT_FALSE(is_valid(good, 6, kSlots));
  std::mt19937_64 random{3};
  for (int i = 0; i < 2'000; ++i) {
    BlockLogRecord bad = good;
    const auto bit = random() % (sizeof bad * 8);
    reinterpret_cast<unsigned char*>(&bad)[bit / 8] ^= static_cast<unsigned char>(1U << (bit % 8));
    EXPECT_FALSE(is_valid(bad, 5, kSlots)) << "bit " << bit;
  }
}

TEST(BlockLog, ScanFindsTheEnd) {
  const BlockLogSummary empty = scan(Disk(kSlots));
  EXPECT_EQ(empty.last, 0U);
  EXPECT_EQ(empty.damaged_sectors, 0U);
  EXPECT_TRUE(empty.kept_every_flushed_record());
  for (const std::uint64_t last : {1ULL, 8ULL, 63ULL, 64ULL, 65ULL, 640ULL, 1000ULL}) {
    const BlockLogSummary found = scan(written_through(last, 8));
    EXPECT_EQ(found.last, last);
    EXPECT_EQ(found.last_contiguous, last);
    EXPECT_TRUE(found.kept_every_flushed_record());
  }
}

// A burst cut off anywhere, each of its sectors old, new or torn: never a loss of what was flushed.
TEST(BlockLog, BurstInFlightIsNoLoss) {
  std::mt19937_64 random{4};
  for (int round = 0; round < 3'000; ++round) {
    const std::uint64_t burst = 1 + random() % kLogMaxUnflushed;
    const std::uint64_t flushed = burst * (random() % 40);
    Disk disk = written_through(flushed, burst);
    for (std::uint64_t s = flushed + 1; s <= flushed + burst; ++s) {
      const auto fate = random() % 3;
      if (fate == 0) continue;
      disk[slot_of(s, kSlots)] = make(s, flushed);
      if (fate == 2) disk[slot_of(s, kSlots)].payload[3] = 1;
    }
    const BlockLogSummary found = scan(disk);
    EXPECT_TRUE(found.kept_every_flushed_record()) << "flushed " << flushed << " burst " << burst;
    EXPECT_GE(found.last_contiguous, flushed);
  }
}

TEST(BlockLog, LostFlushedRecordIsFound) {
  for (const std::uint64_t last : {40ULL, 100ULL, 1000ULL}) {
    // Every one that must still be there, and that a later record vouches for.
    const std::uint64_t vouched = (last - 1) / 8 * 8;
    const std::uint64_t oldest = last + kLogMaxUnflushed > kSlots ? last + kLogMaxUnflushed - kSlots + 1 : 1;
    for (std::uint64_t lost = oldest; lost <= vouched; ++lost) {
      Disk disk = written_through(last, 8);
      disk[slot_of(lost, kSlots)] = lost > kSlots ? make(lost - kSlots, lost - kSlots - 1) : BlockLogRecord{};
      EXPECT_FALSE(scan(disk).kept_every_flushed_record()) << "lost " << lost << " of " << last;
    }
  }
}

TEST(BlockLog, DamageIsCounted) {
  Disk disk = written_through(10, 1);
  disk[20].payload[0] = 7;
  disk[3].crc ^= 1;
  const BlockLogSummary found = scan(disk);
  EXPECT_EQ(found.damaged_sectors, 2U);
  EXPECT_EQ(found.last_contiguous, 3U);
}

}  // namespace
}  // namespace understudy::guest
