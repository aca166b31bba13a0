#include "replication/write_coalescing.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <tuple>

namespace understudy {

namespace {

// The part of `write` from `from` to `to`, places on the disk.
DiskWrite cut_out(const DiskWrite& write, std::uint64_t from, std::uint64_t to) {
  DiskWrite part{
      .disk = write.disk, .offset_bytes = from, .length_bytes = static_cast<std::uint32_t>(to - from), .zeros = write.zeros, .data = {}};
  if (!write.zeros) part.data = {write.data.bytes.subspan(from - write.offset_bytes, to - from), write.data.owner};
  return part;
}

}  // namespace

std::vector<DiskWrite> coalesced(std::span<const DiskWrite> writes) {
  std::vector<DiskWrite> out;
  out.reserve(writes.size());
  // By disk: what later writes cover, from start to end, without overlap or contact.
  std::map<std::uint16_t, std::map<std::uint64_t, std::uint64_t>> covered_by_disk;
  for (std::size_t i = writes.size(); i-- > 0;) {
    const DiskWrite& write = writes[i];
    auto& covered = covered_by_disk[write.disk];
    const std::uint64_t start = write.offset_bytes, end = start + write.length_bytes;
    std::uint64_t from = start, covered_from = start, covered_to = end;
    auto range = covered.upper_bound(start);
    if (range != covered.begin() && std::prev(range)->second >= start) --range;
    while (range != covered.end() && range->first <= end) {
      if (range->first > from) out.push_back(cut_out(write, from, range->first));
      from = std::max(from, range->second);
      covered_from = std::min(covered_from, range->first);
      covered_to = std::max(covered_to, range->second);
      range = covered.erase(range);
    }
    if (from < end) out.push_back(cut_out(write, from, end));
    covered.emplace(covered_from, covered_to);
  }
  std::ranges::sort(out, {}, [](const DiskWrite& write) { return std::tuple{write.disk, write.offset_bytes}; });
  return out;
}

}  // namespace understudy
