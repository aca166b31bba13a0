// Puts kernel, initrd, command line, zero page, ACPI and MP tables, GDT and page tables into guest memory.
#pragma once

#include <string>
#include <vector>

#include "net/base/result.h"
#include "vmm/device_node.h"
#include "vmm/guest_memory.h"

namespace understudy {

struct BootConfig {
  std::string kernel_path;
  std::string initrd_path;  // empty: none
  std::string command_line;
  unsigned vcpu_count = 1;
  std::vector<DeviceNode> devices{};  // for the ACPI tables
};

// Returns the kernel's entry point. kInvalid names the file and what is wrong with it; guest memory is then partly written and not to be
// used. Blocks on the files.
Result<GuestPhysicalAddress> load_guest(const BootConfig& config, GuestMemory& memory);

}  // namespace understudy
