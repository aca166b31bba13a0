// A piece of a disk cut into bytes and extents of zeros, so that a sparse image stays sparse on the other side.
#pragma once

#include <cstdint>
#include <vector>

#include "checkpoint/disk_write.h"

namespace understudy {

// Zeros are looked for in blocks of this many bytes, counted from the disk's beginning: what a file system allocates at least, and a bit
// more.
inline constexpr std::size_t kZeroBlockBytes = std::size_t{16} << 10;

// Writes that follow each other without a gap and say together what `bytes` (not empty, at most kMaxDiskWriteBytes) at `offset_bytes` say.
std::vector<DiskWrite> split_at_zeros(std::uint64_t offset_bytes, const OwnedBytes& bytes);
// The same for a range of zeros, not empty, in whole sectors, of any length.
std::vector<DiskWrite> zero_extent(std::uint64_t offset_bytes, std::uint64_t length_bytes);

}  // namespace understudy
