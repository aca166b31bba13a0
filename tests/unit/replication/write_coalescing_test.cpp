#include "replication/write_coalescing.h"

#include <random>

#include <gtest/gtest.h>

#include "tests/support/fake_disk.h"

namespace understudy {
namespace {

constexpr std::uint64_t kSector = 512;

DiskWrite write_of(std::uint16_t disk, std::uint64_t sector, std::uint32_t sectors, std::uint8_t value) {
  DiskWrite write{.disk = disk,
                  .offset_bytes = sector * kSector,
                  .length_bytes = static_cast<std::uint32_t>(sectors * kSector),
                  .zeros = value == 0,
                  .data = {}};
  if (write.zeros) return write;
  const auto bytes = std::make_shared<fake::DiskBytes>(write.length_bytes, std::byte{value});
  // Each sector differs, so that a piece cut at the wrong place shows.
  for (std::uint32_t i = 0; i < sectors; ++i) (*bytes)[i * kSector] = static_cast<std::byte>(sector + i);
  write.data = {*bytes, bytes};
  return write;
}

TEST(WriteCoalescing, NothingStaysNothing) { EXPECT_TRUE(coalesced({}).empty()); }

TEST(WriteCoalescing, AnOverwrittenWriteGoes) {
  const std::vector<DiskWrite> writes{write_of(0, 4, 2, 1), write_of(0, 0, 8, 2), write_of(1, 4, 2, 3)};
  const auto left = coalesced(writes);
  ASSERT_EQ(left.size(), 2u);
  EXPECT_EQ(left[0].data.bytes.data(), writes[1].data.bytes.data()) << "shared, not copied";
  EXPECT_EQ(left[1].disk, 1);
}

TEST(WriteCoalescing, LeavesWhatTheWritesLeaveAndNothingTwice) {
  std::mt19937 engine{7};
  const auto random = [&] { return static_cast<std::uint32_t>(engine()); };
  for (int round = 0; round < 500; ++round) {
    std::vector<DiskWrite> writes;
    for (unsigned i = random() % 30; i > 0; --i) {
      const std::uint64_t sector = random() % 60;
      writes.push_back(write_of(static_cast<std::uint16_t>(random() % 2), sector, 1 + random() % static_cast<std::uint32_t>(64 - sector),
                                static_cast<std::uint8_t>(random() % 4)));
    }
    std::vector<fake::DiskBytes> plain(2, fake::DiskBytes(64 * kSector, std::byte{0xee})), joined = plain;
    for (const DiskWrite& write : writes) fake::write_into(plain[write.disk], write);
    const auto left = coalesced(writes);
    for (std::size_t i = 0; i < left.size(); ++i) {
      fake::write_into(joined[left[i].disk], left[i]);
      EXPECT_GT(left[i].length_bytes, 0u);
      if (i == 0 || left[i - 1].disk != left[i].disk) continue;
      EXPECT_GE(left[i].offset_bytes, left[i - 1].offset_bytes + left[i - 1].length_bytes);
    }
    ASSERT_EQ(plain, joined) << "round " << round;
  }
}

}  // namespace
}  // namespace understudy
