// Routes a vCPU's port or memory-mapped access to the device that claims its address. A machine has one for ports and one for MMIO.
//
// Threading: add() before any vCPU runs; from then on the ranges are fixed, and read() and write() may come from all vCPU threads at once.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "net/base/result.h"
#include "vmm/device.h"

namespace understudy {

class Bus {
 public:
  // Gives [start, start + length_bytes) to `device`, which outlives the bus. kInvalid: empty, past the end of the address space, or
  // overlapping another device's range (named).
  Result<void> add(std::uint64_t start, std::uint64_t length_bytes, Device& device);

  // One access of 1, 2, 4 or 8 bytes (KVM API 5, KVM_EXIT_IO and KVM_EXIT_MMIO; a repeated `ins`/`outs` is one call per element). An access
  // that does not lie wholly in one range is unclaimed: a read gives all ones, a write vanishes, and both are counted.
  void read(std::uint64_t address, MutableBytes out);
  void write(std::uint64_t address, ConstBytes in);

  std::uint64_t unclaimed_reads() const { return unclaimed_reads_.load(std::memory_order_relaxed); }
  std::uint64_t unclaimed_writes() const { return unclaimed_writes_.load(std::memory_order_relaxed); }

 private:
  struct Range {
    std::uint64_t start;
    std::uint64_t last;  // inclusive, so that a range may touch the end of the address space
    Device* device;
  };
  const Range* claimant(std::uint64_t address, std::size_t length) const;

  std::vector<Range> ranges_;  // ascending, without overlap
  std::atomic<std::uint64_t> unclaimed_reads_{0};
  std::atomic<std::uint64_t> unclaimed_writes_{0};
};

}  // namespace understudy
