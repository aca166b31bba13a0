// The ways into a kernel.
#pragma once

#include <cstdint>

#include "net/base/ids.h"

namespace understudy {

enum class BootProtocol : std::uint8_t {
  kLinux64,  // long mode, a zero page (Linux Documentation/arch/x86/boot.rst, "64-bit Boot Protocol")
  kPvh,      // 32-bit protected mode without paging, a start info (Xen docs/misc/pvh.pandoc)
};

struct BootEntry {
  BootProtocol protocol = BootProtocol::kLinux64;
  GuestPhysicalAddress address;
};

}  // namespace understudy
