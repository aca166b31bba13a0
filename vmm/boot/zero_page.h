// The "zero page" (struct boot_params) by which a Linux/x86 kernel learns its command line, initrd and memory. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "net/base/ids.h"
#include "vmm/backend.h"
#include "vmm/boot/memory_map.h"

namespace understudy {

struct InitrdPlace {
  GuestPhysicalAddress start;
  std::uint32_t bytes = 0;
};

struct ZeroPageContent {
  std::span<const boot_map::E820Range> e820{};
  std::size_t command_line_bytes = 0;  // the command line lies at boot_map::kCommandLine, with a final zero
  std::optional<InitrdPlace> initrd{};
  std::optional<GuestPhysicalAddress> rsdp{};
  ConstBytes setup_header{};  // as parse_bzimage() found it; empty for a kernel that has none
};

// For the 64-bit boot protocol (Linux Documentation/arch/x86/boot.rst): of a setup header, what a boot loader is to write is written over.
std::array<std::byte, kPageSizeBytes> make_zero_page(const ZeroPageContent& content);

// As high as it may lie in the guest's first region: ending at or below `end`, page-aligned, above `lowest`. nullopt: does not fit.
std::optional<InitrdPlace> place_initrd(std::uint64_t bytes, const MemoryLayout& layout, GuestPhysicalAddress lowest,
                                        std::uint64_t end = boot_map::kInitrdEnd);

}  // namespace understudy
