// One write to a guest's disk, as it travels in an epoch.
#pragma once

#include <cstddef>
#include <cstdint>

#include "checkpoint/staging.h"

namespace understudy {

inline constexpr std::uint32_t kMaxDiskWriteBytes = std::uint32_t{8} << 20;
inline constexpr std::uint32_t kMaxDiskZerosBytes = std::uint32_t{128} << 20;

struct DiskWrite {
  std::uint16_t disk = 0;          // index among the machine's disks
  std::uint64_t offset_bytes = 0;  // a multiple of 512
  std::uint32_t length_bytes = 0;  // a multiple of 512, 512 to kMaxDiskWriteBytes; of zeros to kMaxDiskZerosBytes
  bool zeros = false;              // then `data` is empty: the range becomes zero
  OwnedBytes data;                 // length_bytes of them
};

// What it occupies while it is kept: zeros travel as an extent, however long.
inline std::size_t kept_bytes(const DiskWrite& write) { return write.zeros ? sizeof write : write.length_bytes; }

}  // namespace understudy
