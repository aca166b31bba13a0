// Reads a kernel from its file into guest memory, whatever its format, which its content tells.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "net/base/ids.h"
#include "net/base/result.h"
#include "vmm/boot/memory_map.h"
#include "vmm/guest_memory.h"

namespace understudy {

struct LoadedKernel {
  GuestPhysicalAddress entry{};
  // What the kernel needs in the first region ends here, before it knows its memory map: an initrd lies above, and ends at `initrd_end`.
  GuestPhysicalAddress end = boot_map::kKernelLowest;
  std::uint64_t initrd_end = boot_map::kInitrdEnd;
  std::size_t max_command_line_bytes = boot_map::kMaxCommandLineBytes;
  std::vector<std::byte> setup_header{};  // of a boot image, for the zero page; empty without
};

// kInvalid says in one clause what is wrong with the file (the caller names it); guest memory may then be partly written. Blocks on the
// file.
Result<LoadedKernel> load_kernel(const std::string& path, GuestMemory& memory);

}  // namespace understudy
