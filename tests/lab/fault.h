// What the lab does to a host: one table of the faults, with what must come of each. Beside them what is no fault of a host and must lose
// no more than these do: an operator's switchover, the guest's own ends, a break of the arbiter's, rough times for all, and an intruder.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "net/base/clock.h"
#include "net/base/ids.h"
#include "net/base/result.h"
#include "tests/lab/guest_service.h"

namespace understudy::lab {

class LabPair;

enum class Fault {
  kKill,
  kDaemonStop,
  kServiceNicGone,
  kServiceNicBlackhole,
  kStorageGone,
  kStorageEio,
  kStorageHang,
  kStorageCorrupt,
  kStorageSlow,
  kStateGone,
  kStateHang,
  kKernelLogOops,
  kLinksCut,
  kSwitchover,
  kGuestReboot,
  kGuestCrash,
  kGuestPowerOff,
  kPowerButton,
  kArbiterRestart,
  kRoughTimes,
  kFence,
  kIntruder,
  kLinksBack
};

// Which of the struck host's folders lies on storage that ails on command: lab_storage.h.
enum class AilingFolder {
  kNone,
  kDisk,   // the guest's disk and the canary beside it
  kState,  // the daemon's own: its state, its log and its program
};

// Where the guest must be when the host that runs it was struck. Struck as the secondary, a host never gets it, but where either may.
enum class GuestThen { kMoves, kStays, kEither };

// What the lab's judge of detection asks of a fault.
struct Detection {
  std::span<const std::string_view> paths;  // one of them must be named; empty: the host falls silent, and no path is known
  Duration aim;                             // from the fault to the verdict, and to the first packet afterwards
  Duration history{};                       // of health under load before it, where the judgement compares with what was usual
};

std::vector<std::string> fault_names();
// By its name, or by its short one.
std::optional<Fault> fault_of(std::string_view name);
const char* name_of(Fault fault);
// What is done to whom, for the timeline.
std::string describe(Fault fault, NodeId struck);
// Only the host that runs the guest can suffer it.
bool only_the_primary(Fault fault);
AilingFolder ailing_folder(Fault fault);
// nullopt: not a matter of detection.
std::optional<Detection> detection_of(Fault fault);
// The struck host's process is gone for good.
bool kills(Fault fault);
// The guest ends, and starts afresh where it was: it may lose what was only in its memory.
bool starts_afresh(Fault fault);
// It starts again only when an operator says so.
bool stays_over(Fault fault);
// host-a runs the guest at first.
GuestThen guest_then(Fault fault, NodeId struck);

// Strikes now. Daemon-stop: thaw() ends it. Arbiter-restart: the arbiter stays away until LabArbiter::restart(). Rough times are not a
// moment: RoughTimes makes them. Intruder: the demo lets him try (intruder.h).
Result<void> strike(Fault fault, NodeId struck, LabPair& pair, GuestService& service, const Clock& clock);
// The struck host's links, cut by kLinksBack, are whole again.
Result<void> restore_links(NodeId struck, const Clock& clock);
void thaw(NodeId struck, LabPair& pair);

}  // namespace understudy::lab
