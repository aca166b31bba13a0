// Reads a kernel from its file into guest memory, whatever its format, which its content tells.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "net/base/ids.h"
#include "net/base/result.h"
#include "vmm/boot/boot_protocol.h"
#include "vmm/boot/memory_map.h"
#include "vmm/guest_memory.h"

namespace understudy {

struct LoadedKernel {
  BootEntry entry{};
  // What the kernel needs in the first region ends here, before it knows its memory map: an initrd lies above, and ends at `initrd_end`.
  GuestPhysicalAddress end = boot_map::kKernelLowest;
  std::uint64_t initrd_end = boot_map::kInitrdEnd;
  std::size_t max_command_line_bytes = boot_map::kMaxCommandLineBytes;
  std::vector<std::byte> setup_header{};  // of a boot image, for the zero page; empty without
};

// `protocol`: nullopt for what suits the file: the 64-bit protocol, or PVH for an ELF file that offers it and has no usable 64-bit entry (a
// 32-bit file, or one whose entry point is no physical address). kInvalid says in one clause what is wrong with the file (the caller names
// it); guest memory may then be partly written. Blocks on the file.
Result<LoadedKernel> load_kernel(const std::string& path, std::optional<BootProtocol> protocol, GuestMemory& memory);

}  // namespace understudy
