#include "tests/lab/fault.h"

#include <algorithm>
#include <array>
#include <csignal>

#include <fmt/format.h>

#include "tests/lab/lab_pair.h"

namespace understudy::lab {

namespace {

using std::string_view_literals::operator""sv;

struct Entry {
  Fault fault;
  const char* name;
  const char* short_name;   // "": none
  const char* description;  // {}: the struck host
  bool only_the_primary = false;
  GuestThen then = GuestThen::kMoves;
  AilingFolder ailing = AilingFolder::kNone;
  std::optional<Detection> detection;
};

constexpr std::array kServiceNic{"service NIC"sv};
constexpr std::array kDisk{"storage"sv, "guest disk"sv};
constexpr std::array kState{"storage"sv};
constexpr std::array kKernel{"kernel"sv};
constexpr std::span<const std::string_view> kSilence{};

// What fails and says so, what stops without a word, and what is only worse than it was.
constexpr Duration kTold = std::chrono::seconds{1};
constexpr Duration kMute = std::chrono::seconds{3};
constexpr Duration kSlow = std::chrono::seconds{10};
constexpr Duration kHistory = std::chrono::seconds{12};

constexpr Entry on_storage(Fault fault, const char* name, const char* description, AilingFolder folder, Duration aim) {
  const std::span<const std::string_view> paths = folder == AilingFolder::kDisk ? std::span<const std::string_view>{kDisk} : kState;
  return {.fault = fault,
          .name = name,
          .short_name = "",
          .description = description,
          .ailing = folder,
          .detection = Detection{paths, aim, aim == kSlow ? kHistory : Duration{0}}};
}
constexpr Entry not_of_a_host(Fault fault, const char* name, const char* description, GuestThen then) {
  return {
      .fault = fault, .name = name, .short_name = "", .description = description, .only_the_primary = true, .then = then, .detection = {}};
}

constexpr std::array<Entry, static_cast<std::size_t>(Fault::kLinksBack) + 1> kFaults{{
    {.fault = Fault::kKill, .name = "kill", .short_name = "", .description = "SIGKILL to understudyd on {}", .detection = {}},
    {.fault = Fault::kDaemonStop,
     .name = "daemon-stop",
     .short_name = "freeze",
     .description = "SIGSTOP to understudyd on {}",
     .detection = Detection{kSilence, kMute}},
    // Both ends of the cable vanish, as when a driver's unbinding takes the interface away.
    {.fault = Fault::kServiceNicGone,
     .name = "service-nic-gone",
     .short_name = "nic",
     .description = "service NIC removed from {}",
     .detection = Detection{kServiceNic, kTold}},
    {.fault = Fault::kServiceNicBlackhole,
     .name = "service-nic-blackhole",
     .short_name = "",
     .description = "what {}'s service NIC sends and should receive is lost, its carrier up",
     .detection = Detection{kServiceNic, kMute}},
    on_storage(Fault::kStorageGone, "storage-gone", "the storage under {}'s disk is gone", AilingFolder::kDisk, kTold),
    on_storage(Fault::kStorageEio, "storage-eio", "the storage under {}'s disk fails every operation with EIO", AilingFolder::kDisk, kTold),
    on_storage(Fault::kStorageHang, "storage-hang", "no operation on {}'s disk ends", AilingFolder::kDisk, kMute),
    on_storage(Fault::kStorageCorrupt, "storage-corrupt", "what {} reads of its disk has flipped bits", AilingFolder::kDisk, kMute),
    on_storage(Fault::kStorageSlow, "storage-slow", "the storage under {}'s disk does 100 kB a second", AilingFolder::kDisk, kSlow),
    on_storage(Fault::kStateGone, "state-gone", "the storage under understudyd on {} is gone: state, log, program", AilingFolder::kState,
               kTold),
    on_storage(Fault::kStateHang, "state-hang", "no operation on the storage under understudyd on {} ends: state, log, program",
               AilingFolder::kState, kMute),
    {.fault = Fault::kKernelLogOops,
     .name = "kernel-log-oops",
     .short_name = "",
     .description = "the kernel log of {} reports an oops",
     .detection = Detection{kKernel, kMute}},
    // Out of the bridge: both ends keep their carrier, and only the frames between them vanish. It carries epochs and heartbeats.
    {.fault = Fault::kLinksCut,
     .name = "links-cut",
     .short_name = "partition",
     .description = "replication and heartbeat links cut at {}'s port of the switch",
     .then = GuestThen::kEither,
     .detection = Detection{kSilence, kMute}},
    not_of_a_host(Fault::kSwitchover, "switchover", "understudy switchover on {}", GuestThen::kMoves),
    not_of_a_host(Fault::kGuestReboot, "guest-reboot", "the guest is told to reset itself", GuestThen::kStays),
    not_of_a_host(Fault::kGuestCrash, "guest-crash", "the guest is told to crash, by a triple fault", GuestThen::kStays),
    not_of_a_host(Fault::kGuestPowerOff, "guest-poweroff", "the guest is told to power off", GuestThen::kStays),
    not_of_a_host(Fault::kPowerButton, "power-button", "understudy power-button on {}", GuestThen::kStays),
    not_of_a_host(Fault::kArbiterRestart, "arbiter-restart", "SIGKILL to the arbiter, which comes back later", GuestThen::kStays),
    not_of_a_host(Fault::kRoughTimes, "rough-times", "the CPUs stolen in slices, latency spikes and lost frames on the links",
                  GuestThen::kStays),
    not_of_a_host(Fault::kFence, "fence", "understudy fence on {}, which hands the guest over first", GuestThen::kMoves),
    not_of_a_host(Fault::kIntruder, "intruder", "somebody on the pair's networks tries every listening port", GuestThen::kStays),
    not_of_a_host(Fault::kLinksBack, "links-back", "replication and heartbeat links cut at {}'s port of the switch, and whole again later",
                  GuestThen::kStays),
}};

const Entry& entry_of(Fault fault) { return kFaults[static_cast<std::size_t>(fault)]; }

constexpr Duration kCommandDeadline = std::chrono::seconds{5};
// As the kernel prints one: the lines of a NULL pointer's.
constexpr const char* kOops = "BUG: kernel NULL pointer dereference, address: 0000000000000008";

Result<void> ip(const Clock& clock, std::vector<std::string> words) {
  words.insert(words.begin(), "ip");
  if (auto done = run_command(clock, words, kCommandDeadline); !done) return std::move(done.error());
  return {};
}

}  // namespace

std::vector<std::string> fault_names() {
  std::vector<std::string> names;
  for (const auto& entry : kFaults) names.emplace_back(entry.name);
  return names;
}

std::optional<Fault> fault_of(std::string_view name) {
  const auto found =
      std::ranges::find_if(kFaults, [&](const Entry& entry) { return name == entry.name || (!name.empty() && name == entry.short_name); });
  if (found == kFaults.end()) return std::nullopt;
  return found->fault;
}

const char* name_of(Fault fault) { return entry_of(fault).name; }
std::string describe(Fault fault, NodeId struck) {
  return fmt::format(fmt::runtime(entry_of(fault).description), kHosts[static_cast<std::size_t>(struck)]);
}
bool only_the_primary(Fault fault) { return entry_of(fault).only_the_primary; }
AilingFolder ailing_folder(Fault fault) { return entry_of(fault).ailing; }
std::optional<Detection> detection_of(Fault fault) { return entry_of(fault).detection; }
bool kills(Fault fault) { return fault == Fault::kKill; }

bool stays_over(Fault fault) { return fault == Fault::kGuestPowerOff || fault == Fault::kPowerButton; }
bool starts_afresh(Fault fault) { return stays_over(fault) || fault == Fault::kGuestReboot || fault == Fault::kGuestCrash; }

GuestThen guest_then(Fault fault, NodeId struck) {
  const GuestThen then = entry_of(fault).then;
  return struck == NodeId::kB && then == GuestThen::kMoves ? GuestThen::kStays : then;
}

namespace {

// Without a third place: the operator knows that a host is gone, and says so to the other as soon as that believes it.
Result<void> grant(const LabPair& pair, NodeId survivor, const Clock& clock) {
  const Instant give_up_at = clock.now() + kCommandDeadline;
  while (true) {
    auto granted = pair.command(survivor, {"grant", "--i-assert"}, kCommandDeadline);
    if (granted || clock.now() >= give_up_at) return granted;
  }
}

}  // namespace

Result<void> strike(Fault fault, NodeId struck, LabPair& pair, GuestService& service, const Clock& clock) {
  const std::string letter = name_of(struck);
  switch (fault) {
    case Fault::kKill:
      pair.node(struck).signal(SIGKILL);
      if (pair.arbiter().kind() == ArbiterKind::kManual) return grant(pair, peer_of(struck), clock);
      return {};
    case Fault::kDaemonStop:
      pair.node(struck).signal(SIGSTOP);
      return {};
    case Fault::kServiceNicGone:
      return ip(clock, {"-n", kHosts[static_cast<std::size_t>(struck)], "link", "delete", "svc0"});
    case Fault::kServiceNicBlackhole:
      return ip(clock, {"link", "set", letter + "-svc", "nomaster"});
    case Fault::kStorageGone:
    case Fault::kStateGone:
      pair.ailing().kill();
      return {};
    case Fault::kStorageEio:
      return pair.ailing().order(StorageState::kEio);
    case Fault::kStorageHang:
    case Fault::kStateHang:
      return pair.ailing().order(StorageState::kHang);
    case Fault::kStorageCorrupt:
      return pair.ailing().order(StorageState::kCorrupt);
    case Fault::kStorageSlow:
      return pair.ailing().order(StorageState::kSlow);
    case Fault::kKernelLogOops:
      return pair.say_in_kernel_log(struck, kOops);
    case Fault::kLinksCut:
    case Fault::kLinksBack:
      return ip(clock, {"link", "set", letter + "-rep", "nomaster"});
    case Fault::kSwitchover:
      return pair.command(struck, {"switchover"}, kCommandDeadline);
    case Fault::kGuestReboot:
      return service.end_guest(guest::GuestEnd::kReset);
    case Fault::kGuestCrash:
      return service.end_guest(guest::GuestEnd::kTripleFault);
    case Fault::kGuestPowerOff:
      return service.end_guest(guest::GuestEnd::kPowerOff);
    case Fault::kPowerButton:
      return pair.command(struck, {"power-button"}, kCommandDeadline);
    case Fault::kArbiterRestart:
      pair.arbiter().kill();
      return {};
    case Fault::kFence:
      return pair.command(struck, {"fence"}, kCommandDeadline);
    case Fault::kRoughTimes:
    case Fault::kIntruder:
      return {};
  }
  return {};
}

Result<void> restore_links(NodeId struck, const Clock& clock) {
  return ip(clock, {"link", "set", std::string{name_of(struck)} + "-rep", "master", "rep"});
}

void thaw(NodeId struck, LabPair& pair) { pair.node(struck).signal(SIGCONT); }

}  // namespace understudy::lab
