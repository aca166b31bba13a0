// Writes the block log (block_log.h): records gathered, written side by side, then flushed. vCPU 0 alone.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "tests/guest/block_device.h"
#include "tests/guest/block_log.h"

namespace understudy::guest {

class LogWriter {
 public:
  // Scans `slots` sectors from `first_sector`, reports what it found, and goes on after the last whole record. A log that lost a flushed
  // record stops the guest.
  void start(BlockDevice& disk, std::uint64_t first_sector, std::uint64_t slots, std::uint32_t boot);
  bool started() const { return disk_ != nullptr; }

  // Adds a record to the next commit(), at most kLogMaxUnflushed of them.
  void append(std::span<const std::uint64_t> payload);
  // Writes what was appended and flushes; returns once both are done.
  void commit();
  // Reads one earlier record, picked at random, and stops the guest if it is not what was written.
  void read_back();
  std::uint64_t last() const { return last_; }

 private:
  BlockDevice* disk_ = nullptr;
  std::uint64_t first_sector_ = 0;
  std::uint64_t slots_ = 0;
  std::uint32_t boot_ = 0;
  std::uint64_t last_ = 0;     // sequence of the newest record appended
  std::uint64_t flushed_ = 0;  // sequence up to which everything is flushed
  std::uint64_t read_back_ = 0;
  std::uint64_t random_ = 0x9E3779B97F4A7C15ULL;
  std::size_t pending_ = 0;
  alignas(4096) std::array<BlockLogRecord, kLogMaxUnflushed> records_{};
  alignas(4096) BlockLogRecord read_record_{};
};

}  // namespace understudy::guest
