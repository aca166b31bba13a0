// The processor as the 64-bit boot protocol wants it: long mode, flat segments, identity page tables, interrupts off.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include <linux/kvm.h>

#include "net/base/ids.h"

namespace understudy {

// Null, null, 64-bit code at selector 0x10, data at 0x18 (the protocol's __BOOT_CS and __BOOT_DS).
std::array<std::uint64_t, 4> make_gdt();

// The tables from boot_map::kPml4 on, contiguous: the first 4 GiB mapped to themselves in 2 MiB pages, writable, supervisor's.
std::vector<std::uint64_t> make_identity_page_tables();

// `sregs` as KVM_GET_SREGS2 gave it at reset, changed for long mode with the tables above.
void enter_long_mode(kvm_sregs2& sregs);

// RIP at `entry`, RSI at the zero page, a small stack; everything else zero.
kvm_regs boot_registers(GuestPhysicalAddress entry);

}  // namespace understudy
