// How a guest ends by itself: the events that a machine reports, and the ports by which a guest asks for one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "vmm/backend.h"

namespace understudy {

enum class MachineEventKind : std::uint8_t {
  kPowerOff,       // the guest wrote SLP_EN with sleep type 0 to port 0x604, the ACPI PM1a control register (16 bits: 0x2000)
  kReset,          // the guest asked for a reset: i8042 (port 0x64 <- 0xFE) or the reset control register (port 0xCF9 <- bit 2)
  kTripleFault,    // KVM_EXIT_SHUTDOWN
  kPanic,          // the guest told of a panic (pvpanic) on a machine that ends on one
  kInternalError,  // KVM could not go on (KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_FAIL_ENTRY, an exit nobody knows): the text has the details
};
const char* name_of(MachineEventKind kind);

// The guest has ended by itself. The machine stands still from then on: pause() and resume() give kUnavailable with this text, until its
// owner decides (Machine::reboot(), Machine::accept_end()).
struct MachineEvent {
  MachineEventKind kind = MachineEventKind::kInternalError;
  unsigned vcpu = 0;
  std::string text;  // one sentence; for an internal error with RIP, mode and instruction bytes
};

// What an output of `bytes` to `port` asks of the machine, if anything. Pure.
std::optional<MachineEventKind> control_request(std::uint16_t port, ConstBytes bytes);

}  // namespace understudy
