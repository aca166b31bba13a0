#include "tests/lab/fault.h"

#include <array>
#include <csignal>

namespace understudy::lab {

namespace {

struct Entry {
  Fault fault;
  const char* name;
  const char* description;
};
constexpr std::array<Entry, 12> kFaults{{
    {Fault::kKill, "kill", "SIGKILL to understudyd on host-a"},
    {Fault::kFreeze, "freeze", "SIGSTOP to understudyd on host-a"},
    {Fault::kNic, "nic", "service NIC removed from host-a"},
    {Fault::kPartition, "partition", "replication link cut at host-a's port of the switch"},
    {Fault::kSwitchover, "switchover", "understudy switchover on host-a"},
    {Fault::kGuestReboot, "guest-reboot", "the guest is told to reset itself"},
    {Fault::kGuestCrash, "guest-crash", "the guest is told to crash, by a triple fault"},
    {Fault::kGuestPowerOff, "guest-poweroff", "the guest is told to power off"},
    {Fault::kPowerButton, "power-button", "understudy power-button on host-a"},
    {Fault::kArbiterRestart, "arbiter-restart", "SIGKILL to the arbiter, which comes back later"},
    {Fault::kFence, "fence", "understudy fence on host-a, which hands the guest over first"},
    {Fault::kIntruder, "intruder", "somebody on the pair's networks tries every listening port"},
}};

constexpr Duration kCommandDeadline = std::chrono::seconds{5};

}  // namespace

std::vector<std::string> fault_names() {
  std::vector<std::string> names;
  for (const auto& entry : kFaults) names.emplace_back(entry.name);
  return names;
}

std::optional<Fault> fault_of(std::string_view name) {
  for (const auto& entry : kFaults) {
    if (entry.name == name) return entry.fault;
  }
  return std::nullopt;
}

const char* name_of(Fault fault) { return kFaults[static_cast<std::size_t>(fault)].name; }
const char* describe(Fault fault) { return kFaults[static_cast<std::size_t>(fault)].description; }
std::optional<NodeId> kills(Fault fault) { return fault == Fault::kKill ? std::optional{NodeId::kA} : std::nullopt; }

bool stays_over(Fault fault) { return fault == Fault::kGuestPowerOff || fault == Fault::kPowerButton; }
bool starts_afresh(Fault fault) { return stays_over(fault) || fault == Fault::kGuestReboot || fault == Fault::kGuestCrash; }

bool stays_on_host_a(Fault fault) { return starts_afresh(fault) || fault == Fault::kArbiterRestart || fault == Fault::kIntruder; }

Result<void> strike(Fault fault, LabPair& pair, GuestService& service, const Clock& clock) {
  switch (fault) {
    case Fault::kKill:
      pair.node(NodeId::kA).signal(SIGKILL);
      return {};
    case Fault::kFreeze:
      pair.node(NodeId::kA).signal(SIGSTOP);
      return {};
    case Fault::kNic:
      // Both ends of the cable vanish, as when a driver's unbinding takes the interface away.
      if (auto done = run_command(clock, {"ip", "-n", "host-a", "link", "delete", "svc0"}, kCommandDeadline); !done)
        return std::move(done.error());
      return {};
    case Fault::kPartition:
      // Out of the bridge: both ends keep their carrier, and only the frames between them vanish.
      if (auto done = run_command(clock, {"ip", "link", "set", "a-rep", "nomaster"}, kCommandDeadline); !done)
        return std::move(done.error());
      return {};
    case Fault::kSwitchover:
      return pair.command(NodeId::kA, "switchover", kCommandDeadline);
    case Fault::kGuestReboot:
      return service.end_guest(guest::GuestEnd::kReset);
    case Fault::kGuestCrash:
      return service.end_guest(guest::GuestEnd::kTripleFault);
    case Fault::kGuestPowerOff:
      return service.end_guest(guest::GuestEnd::kPowerOff);
    case Fault::kPowerButton:
      return pair.command(NodeId::kA, "power-button", kCommandDeadline);
    case Fault::kArbiterRestart:
      pair.arbiter().kill();
      return {};
    case Fault::kFence:
      return pair.command(NodeId::kA, "fence", kCommandDeadline);
    case Fault::kIntruder:
      return {};
  }
  return {};
}

void thaw(LabPair& pair) { pair.node(NodeId::kA).signal(SIGCONT); }

}  // namespace understudy::lab
