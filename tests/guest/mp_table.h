// Finds the processors in the MultiProcessor Specification 1.4 table. Pure, over the low megabyte's bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace understudy::guest {

struct MpProcessors {
  bool found = false;
  std::uint32_t count = 0;  // enabled processors, at most 8
  std::uint8_t apic_ids[8] = {};
  bool boot[8] = {};
};

// `low_megabyte`: guest-physical memory from 0. Looks in the EBDA's first KiB, the last KiB below 640 KiB, and the BIOS area; takes a table
// with right checksums only.
MpProcessors find_processors(std::span<const unsigned char> low_megabyte);

}  // namespace understudy::guest
