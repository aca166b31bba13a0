#include "vmm/bus.h"

#include <algorithm>
#include <limits>

namespace understudy {

Result<void> Bus::add(std::uint64_t start, std::uint64_t length_bytes, Device& device) {
  if (length_bytes == 0 || length_bytes - 1 > std::numeric_limits<std::uint64_t>::max() - start)
    return Error{ErrorCode::kInvalid, "bus range at " + std::to_string(start) + " of " + std::to_string(length_bytes) +
                                          " bytes for device " + std::string{device.id()} + ": empty or past the address space"};
  const Range range{start, start + (length_bytes - 1), &device};
  const auto next = std::ranges::lower_bound(ranges_, start, {}, &Range::start);
  const auto overlap = [&](const Range& other) { return range.start <= other.last && other.start <= range.last; };
  for (const auto neighbour : {next, next == ranges_.begin() ? ranges_.end() : std::prev(next)}) {
    if (neighbour != ranges_.end() && overlap(*neighbour))
      return Error{ErrorCode::kInvalid, "bus range at " + std::to_string(start) + " for device " + std::string{device.id()} +
                                            ": overlaps device " + std::string{neighbour->device->id()}};
  }
  ranges_.insert(next, range);
  return {};
}

const Bus::Range* Bus::claimant(std::uint64_t address, std::size_t length) const {
  auto above = std::ranges::upper_bound(ranges_, address, {}, &Range::start);
  if (above == ranges_.begin()) return nullptr;
  const Range& range = *std::prev(above);
  if (length == 0 || address > range.last || length - 1 > range.last - address) return nullptr;
  return &range;
}

void Bus::read(std::uint64_t address, MutableBytes out) {
  if (const Range* const range = claimant(address, out.size())) {
    range->device->read(address - range->start, out);
    return;
  }
  std::ranges::fill(out, std::byte{0xFF});
  unclaimed_reads_.fetch_add(1, std::memory_order_relaxed);
}

void Bus::write(std::uint64_t address, ConstBytes in) {
  if (const Range* const range = claimant(address, in.size())) {
    range->device->write(address - range->start, in);
    return;
  }
  unclaimed_writes_.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace understudy
