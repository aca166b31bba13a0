// Puts kernel, initrd, command line, zero page, PVH start info, ACPI and MP tables, GDT and page tables into guest memory.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "net/base/result.h"
#include "vmm/boot/boot_protocol.h"
#include "vmm/device_node.h"
#include "vmm/guest_memory.h"

namespace understudy {

struct BootConfig {
  std::string kernel_path;
  std::string initrd_path;  // empty: none
  std::string command_line;
  std::optional<BootProtocol> protocol{};  // nullopt: what suits the kernel (kernel_file.h)
  unsigned vcpu_count = 1;
  std::vector<DeviceNode> devices{};  // for the ACPI tables
};

// The command line with `words` (each with a space in front) where the kernel reads them: what follows " -- " is init's
// (Linux, admin-guide/kernel-parameters).
std::string with_kernel_words(std::string command_line, const std::string& words);

// Returns how the kernel is to be entered. kInvalid names the file and what is wrong with it; guest memory is then partly written and not
// to be used. Blocks on the files.
Result<BootEntry> load_guest(const BootConfig& config, GuestMemory& memory);

}  // namespace understudy
