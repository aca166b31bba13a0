// How the guest ends itself, and the power button that asks it to (vmm/devices/power). vCPU 0 alone.
#pragma once

#include "tests/guest/cpu.h"
#include "tests/guest/kv_protocol.h"

namespace understudy::guest {

// Asks for the interrupt of the power button.
void listen_to_power_button(const CpuBlock& cpu);
// Whether the button was pressed since the last call. Costs no exit while no interrupt came.
bool power_button_pressed(const CpuBlock& cpu);

// A triple fault is an exception that finds no handler, the handler of that finding none either: the IDT is zeroed.
[[noreturn]] void end_guest(GuestEnd how);

}  // namespace understudy::guest
