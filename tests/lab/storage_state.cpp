#include "tests/lab/storage_state.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>

namespace understudy::lab {

namespace {

constexpr std::array kNames{"healthy", "eio", "hang", "corrupt", "slow"};
constexpr std::size_t kBlockBytes = 512;
constexpr std::size_t kFlippedByte = 100;  // of each block
constexpr std::byte kFlippedBit{0x10};

}  // namespace

std::vector<std::string> storage_state_names() { return {kNames.begin(), kNames.end()}; }

std::optional<StorageState> storage_state_of(std::string_view name) {
  const auto found = std::ranges::find(kNames, name);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<StorageState>(found - kNames.begin());
}

const char* name_of(StorageState state) { return kNames[static_cast<std::size_t>(state)]; }

void flip_bits(std::span<std::byte> read, std::size_t offset_bytes) {
  const std::size_t into_block = offset_bytes % kBlockBytes;
  const std::size_t first = (kFlippedByte + kBlockBytes - into_block) % kBlockBytes;
  for (std::size_t at = first; at < read.size(); at += kBlockBytes) read[at] ^= kFlippedBit;
}

Instant SlowDisk::done_at(Instant now, std::size_t bytes) {
  const auto takes_ns =
      static_cast<std::int64_t>(std::max(bytes, kLeastBytes)) * 1'000'000'000 / static_cast<std::int64_t>(kBytesPerSecond);
  free_at_ = std::max(free_at_, now) + Duration{takes_ns};
  return free_at_;
}

void AilingStorage::set(StorageState state) {
  const std::lock_guard lock{mutex_};
  if (state != state_) slow_ = {};
  state_ = state;
  changed_.notify_all();
}

StorageState AilingStorage::state() const {
  const std::lock_guard lock{mutex_};
  return state_;
}

int AilingStorage::admit(std::size_t bytes) {
  std::unique_lock lock{mutex_};
  for (bool paid = false;;) {
    if (state_ == StorageState::kHang) {
      changed_.wait(lock);
    } else if (state_ == StorageState::kSlow && !paid) {
      const Instant done_at = slow_.done_at(clock_.now(), bytes);
      for (Duration left{}; state_ == StorageState::kSlow && (left = done_at - clock_.now()) > Duration{0};) changed_.wait_for(lock, left);
      paid = true;
    } else {
      return state_ == StorageState::kEio ? EIO : 0;
    }
  }
}

}  // namespace understudy::lab
