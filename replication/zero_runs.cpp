#include "replication/zero_runs.h"

#include <algorithm>
#include <cstring>

#include "net/base/check.h"

namespace understudy {
namespace {

bool all_zero(std::span<const std::byte> bytes) {
  return bytes.front() == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

}  // namespace

std::vector<DiskWrite> split_at_zeros(std::uint64_t offset_bytes, const OwnedBytes& bytes) {
  US_CHECK(!bytes.bytes.empty() && bytes.bytes.size() <= kMaxDiskWriteBytes);
  std::vector<DiskWrite> runs;
  for (std::size_t from = 0; from < bytes.bytes.size();) {
    const std::size_t to_boundary = kZeroBlockBytes - (offset_bytes + from) % kZeroBlockBytes;
    const std::size_t length = std::min(to_boundary, bytes.bytes.size() - from);
    const bool zeros = all_zero(bytes.bytes.subspan(from, length));
    if (runs.empty() || runs.back().zeros != zeros) {
      runs.push_back({.disk = 0, .offset_bytes = offset_bytes + from, .length_bytes = 0, .zeros = zeros, .data = {}});
      if (!zeros) runs.back().data = {bytes.bytes.subspan(from, 0), bytes.owner};
    }
    DiskWrite& run = runs.back();
    run.length_bytes += static_cast<std::uint32_t>(length);
    if (!zeros) run.data.bytes = {run.data.bytes.data(), run.length_bytes};
    from += length;
  }
  return runs;
}

std::vector<DiskWrite> zero_extent(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  std::vector<DiskWrite> writes;
  while (length_bytes > 0) {
    const std::uint64_t piece = std::min<std::uint64_t>(length_bytes, kMaxDiskZerosBytes);
    writes.push_back(
        {.disk = 0, .offset_bytes = offset_bytes, .length_bytes = static_cast<std::uint32_t>(piece), .zeros = true, .data = {}});
    offset_bytes += piece;
    length_bytes -= piece;
  }
  return writes;
}

}  // namespace understudy
