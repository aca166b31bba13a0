// What ails a host's storage in the lab, as whoever serves it does it: each state by its name, and what an operation must suffer.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "net/base/clock.h"

namespace understudy::lab {

enum class StorageState {
  kHealthy,
  kEio,      // every operation fails with EIO
  kHang,     // no operation ends
  kCorrupt,  // what is read differs in a bit of each block
  kSlow,     // SlowDisk::kBytesPerSecond for all operations together
};
std::vector<std::string> storage_state_names();
std::optional<StorageState> storage_state_of(std::string_view name);
const char* name_of(StorageState state);

// Flips a bit in each block of `read`, which begins at `offset_bytes`. A block looks the same however it is read.
void flip_bits(std::span<std::byte> read, std::size_t offset_bytes);

// When an operation is done on a disk that does one after the other, and each slowly. Pure.
class SlowDisk {
 public:
  static constexpr std::size_t kBytesPerSecond = 100'000;
  static constexpr std::size_t kLeastBytes = 512;  // what an operation without data costs

  Instant done_at(Instant now, std::size_t bytes);

 private:
  Instant free_at_ = Instant::min();
};

// The state of now, and its effect on operations. Any thread.
class AilingStorage {
 public:
  explicit AilingStorage(const Clock& clock) : clock_{clock} {}

  // In force for whatever is admitted, or waits to be, from now on.
  void set(StorageState state);
  StorageState state() const;

  // An operation that moves `bytes` begins: waits as the state has it. 0, or the errno with which it fails.
  int admit(std::size_t bytes);

 private:
  const Clock& clock_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  StorageState state_ = StorageState::kHealthy;  // guarded by mutex_, like all below
  SlowDisk slow_;
};

}  // namespace understudy::lab
