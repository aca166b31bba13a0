// What ails storage: its names, its flipped bits, its slowness, and how operations wait and fail.
#include "tests/lab/storage_state.h"

#include <array>
#include <cerrno>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/lab/at_ms.h"

namespace understudy::lab {
namespace {

TEST(StorageState, EachHasItsName) {
  for (const auto& name : storage_state_names()) {
    const auto state = storage_state_of(name);
    ASSERT_TRUE(state) << name;
    EXPECT_EQ(name_of(*state), name);
  }
  EXPECT_EQ(storage_state_of("well"), std::nullopt);
}

TEST(FlipBits, FlipsTheSameInABlockHoweverItIsRead) {
  std::array<std::byte, 2048> whole{};
  flip_bits(whole, 0);
  for (std::size_t block = 0; block < whole.size(); block += 512)
    EXPECT_EQ(std::ranges::count_if(std::span{whole}.subspan(block, 512), [](std::byte b) { return b != std::byte{0}; }), 1);
  for (const std::size_t offset : {1U, 99U, 100U, 101U, 512U, 700U}) {
    std::array<std::byte, 2048> part{};
    const auto read = std::span{part}.subspan(offset);
    flip_bits(read, offset);
    EXPECT_TRUE(std::ranges::equal(read, std::span{whole}.subspan(offset))) << offset;
  }
}

TEST(SlowDisk, DoesOneAfterTheOther) {
  SlowDisk disk;
  EXPECT_EQ(disk.done_at(at_ms(1000), 10'000), at_ms(1100));
  EXPECT_EQ(disk.done_at(at_ms(1000), 10'000), at_ms(1200));
  EXPECT_EQ(disk.done_at(at_ms(5000), 10'000), at_ms(5100));
  EXPECT_GT(disk.done_at(at_ms(5000), 0), at_ms(5100));  // even a flush takes its time
}

TEST(AilingStorage, FailsOrLetsThrough) {
  const MonotonicClock clock;
  AilingStorage storage{clock};
  EXPECT_EQ(storage.admit(4096), 0);
  storage.set(StorageState::kEio);
  EXPECT_EQ(storage.admit(4096), EIO);
  storage.set(StorageState::kCorrupt);
  EXPECT_EQ(storage.admit(4096), 0);
}

TEST(AilingStorage, AHangEndsWithTheStateAndTakesOnTheNext) {
  const MonotonicClock clock;
  AilingStorage storage{clock};
  storage.set(StorageState::kHang);
  std::array<int, 3> results{-1, -1, -1};
  {
    std::array<std::jthread, 3> operations;
    for (std::size_t i = 0; i < operations.size(); ++i)
      operations[i] = std::jthread{[&storage, &result = results[i]] { result = storage.admit(512); }};
    storage.set(StorageState::kEio);
  }
  EXPECT_THAT(results, testing::Each(EIO));
}

TEST(AilingStorage, SlownessEndsWithTheState) {
  const MonotonicClock clock;
  AilingStorage storage{clock};
  storage.set(StorageState::kSlow);
  std::jthread slow{[&] { EXPECT_EQ(storage.admit(std::size_t{1} << 40), 0); }};  // months
  storage.set(StorageState::kHealthy);
}

}  // namespace
}  // namespace understudy::lab
