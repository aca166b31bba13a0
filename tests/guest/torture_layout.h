// The torture's memory and what holds in it at each instruction boundary. Shared by the guest and the host's checker. Freestanding.
//
// Each torturing vCPU counts passes n = 0, 1, ... in a register. Pass n, in this order:
//   hot     every word of its hot pages, in order: from n to n + 1, each compared first;
//   shared  page s = n % S: a locked add of 1 to the page's total, then a locked add of 1 to its own cell (which lies on the next page),
//           whose old value must be n / S;
//   cold    if n % E == 0, with m = n / E: the words of its cold page m % C, in order: from m / C to m / C + 1, each compared first;
//   publish n + 1 as torture_passes.
// Hot pages are dirty in every epoch, cold ones rarely. A page that is older or newer than the registers or than another page is found by
// the comparison at its next visit, and by the host's checker at once.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tests/guest/asm_layout.h"

namespace understudy::guest {

struct TortureLayout {
  static constexpr std::uint64_t kPageBytes = 4096;
  static constexpr std::uint64_t kHotPages = TORTURE_HOT_PAGES;
  static constexpr std::uint64_t kColdPages = std::uint64_t{1} << TORTURE_COLD_PAGES_SHIFT;      // C
  static constexpr std::uint64_t kSharedPages = std::uint64_t{1} << TORTURE_SHARED_PAGES_SHIFT;  // S
  static constexpr std::uint64_t kColdPeriod = std::uint64_t{1} << TORTURE_COLD_PERIOD_SHIFT;    // E
  static constexpr std::size_t kWordsPerPage = 4;
  static constexpr std::uint64_t kWordOffsets[kWordsPerPage] = {TORTURE_WORD0, TORTURE_WORD1, TORTURE_WORD2, TORTURE_WORD3};

  std::uint64_t base = 0;
  std::uint32_t cpu_count = 0;

  static constexpr std::uint64_t pages_for(std::uint64_t cpus) { return kSharedPages + cpus * (kHotPages + kColdPages); }
  // `cpu` counts torturing vCPUs from 0.
  constexpr std::uint64_t hot(std::uint64_t cpu) const { return base + (kSharedPages + cpu * (kHotPages + kColdPages)) * kPageBytes; }
  constexpr std::uint64_t cold(std::uint64_t cpu) const { return hot(cpu) + kHotPages * kPageBytes; }
  constexpr std::uint64_t shared_total(std::uint64_t page) const { return base + page * kPageBytes; }
  static constexpr std::uint64_t cell_offset(std::uint64_t cpu) { return 64 * (cpu + 1); }
  constexpr std::uint64_t shared_cell(std::uint64_t page, std::uint64_t cpu) const {
    return base + ((page + 1) % kSharedPages) * kPageBytes + cell_offset(cpu);
  }
};

// Cold steps made once `passes` passes are complete.
constexpr std::uint64_t cold_steps_after(std::uint64_t passes) {
  return (passes + TortureLayout::kColdPeriod - 1) / TortureLayout::kColdPeriod;
}
// What position `index` of a ring of `size` holds after `steps` steps, each adding one to the next position.
constexpr std::uint64_t ring_value_after(std::uint64_t steps, std::uint64_t index, std::uint64_t size) {
  return steps / size + (index < steps % size ? 1 : 0);
}

}  // namespace understudy::guest
