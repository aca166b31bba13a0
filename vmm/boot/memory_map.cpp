#include "vmm/boot/memory_map.h"

namespace understudy::boot_map {

std::vector<E820Range> e820_map(const MemoryLayout& layout) {
  std::vector<E820Range> map;
  for (const auto& region : layout.regions) {
    const std::uint64_t bytes = std::uint64_t{region.page_count} * kPageSizeBytes;
    if (region.start.raw() == 0) {
      map.push_back({0, kMpTable.raw(), E820Kind::kRam});
      map.push_back({kMpTable.raw(), kKernelLowest.raw() - kMpTable.raw(), E820Kind::kReserved});
      map.push_back({kKernelLowest.raw(), bytes - kKernelLowest.raw(), E820Kind::kRam});
    } else {
      map.push_back({region.start.raw(), bytes, E820Kind::kRam});
    }
  }
  return map;
}

}  // namespace understudy::boot_map
