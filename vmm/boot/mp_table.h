// The MultiProcessor table (Intel MultiProcessor Specification 1.4): the processors, one IOAPIC, and the interrupt lines, all as an ISA bus
// has them (edge-triggered, active high), which is what the machine's irqfds deliver. Pure.
#pragma once

#include <cstddef>
#include <vector>

#include "net/base/ids.h"

namespace understudy {

// Floating pointer and configuration table, to be placed at `at` (16-byte aligned). 1 to 8 processors with APIC ids from 0; the IOAPIC's id
// follows theirs.
std::vector<std::byte> make_mp_table(unsigned processors, GuestPhysicalAddress at);

}  // namespace understudy
