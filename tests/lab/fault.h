// What the demo does to host-a: the faults, and the operator's switchover, which must lose no more than they do. And what is no fault of a
// host: the guest's own ends; and a break of the arbiter's and an intruder on the networks, after which nothing may have moved.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/base/clock.h"
#include "net/base/result.h"
#include "tests/lab/guest_service.h"
#include "tests/lab/lab_pair.h"

namespace understudy::lab {

enum class Fault {
  kKill,
  kFreeze,
  kNic,
  kPartition,
  kSwitchover,
  kGuestReboot,
  kGuestCrash,
  kGuestPowerOff,
  kPowerButton,
  kArbiterRestart,
  kFence,
  kIntruder
};

std::vector<std::string> fault_names();
std::optional<Fault> fault_of(std::string_view name);
const char* name_of(Fault fault);
// What is done to whom, for the timeline.
const char* describe(Fault fault);
// The host whose process is gone for good.
std::optional<NodeId> kills(Fault fault);
// The guest ends, and starts afresh where it was: it may lose what was only in its memory.
bool starts_afresh(Fault fault);
// It starts again only when an operator says so.
bool stays_over(Fault fault);

// Nobody may take the guest over.
bool stays_on_host_a(Fault fault);

// Strikes now. Freeze: thaw() ends it. Arbiter-restart: the arbiter stays away until LabArbiter::restart(). Intruder: the
// demo lets him try (intruder.h).
Result<void> strike(Fault fault, LabPair& pair, GuestService& service, const Clock& clock);
void thaw(LabPair& pair);

}  // namespace understudy::lab
