// The ACPI tables (ACPI 6.4, chapter 5): what a distribution's kernel learns its processors, interrupts and devices from. Pure.
//
// Full ACPI, not hardware-reduced: the machine has a PIC, a PIT and the PM1 registers (devices/power/). All interrupt lines are
// edge-triggered and active high, the SCI included, as the machine's irqfds deliver them; ISA line n is GSI n, and IOAPIC pin n.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "net/base/ids.h"
#include "vmm/device_node.h"

namespace understudy {

// RSDP, XSDT, FADT, FACS, MADT and DSDT, to be placed at `at` (64-byte aligned, below 4 GiB), the RSDP first. 1 to 8 processors with APIC
// ids from 0; the IOAPIC's id follows theirs. A node "PNP0B00" says that there is a real-time clock.
std::vector<std::byte> make_acpi_tables(unsigned processors, std::span<const DeviceNode> devices, GuestPhysicalAddress at);

}  // namespace understudy
