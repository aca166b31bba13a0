// The processor as the boot protocols want it: flat segments, interrupts off; in long mode with identity page tables, or in 32-bit
// protected mode without paging.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include <linux/kvm.h>

#include "net/base/ids.h"
#include "vmm/boot/boot_protocol.h"

namespace understudy {

// Null, null, 64-bit code at selector 0x10, data at 0x18 (Linux's __BOOT_CS and __BOOT_DS), 32-bit code at 0x20.
std::array<std::uint64_t, 5> make_gdt();

// The tables from boot_map::kPml4 on, contiguous: the first 4 GiB mapped to themselves in 2 MiB pages, writable, supervisor's.
std::vector<std::uint64_t> make_identity_page_tables();

// `sregs` as KVM_GET_SREGS2 gave it at reset, changed for the protocol: long mode with the tables above, or protected mode.
void set_boot_mode(BootProtocol protocol, kvm_sregs2& sregs);

// RIP at the entry. kLinux64: RSI at the zero page, and a small stack; kPvh: RBX at the start info. Everything else zero.
kvm_regs boot_registers(const BootEntry& entry);

}  // namespace understudy
