// Puts kernel, initrd, command line, zero page, MP table, GDT and page tables into guest memory.
#pragma once

#include <string>

#include "net/base/result.h"
#include "vmm/guest_memory.h"

namespace understudy {

struct BootConfig {
  std::string kernel_path;
  std::string initrd_path;  // empty: none
  std::string command_line;
  unsigned vcpu_count = 1;
};

// Returns the kernel's entry point. kInvalid names the file and what is wrong with it; guest memory is then partly written and not to be
// used. Blocks on the files.
Result<GuestPhysicalAddress> load_guest(const BootConfig& config, GuestMemory& memory);

}  // namespace understudy
