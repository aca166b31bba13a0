// understudy-bench-machine: the daemon's machine in a process of its own, with the daemon's disk, gate and tap, as when a node runs its
// guest alone (solo): frames leave at once, writes are kept for nobody. Its console is standard output; it ends with its guest.
#include <csignal>
#include <cstdio>
#include <string>
#include <thread>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "failover/daemon/egress.h"
#include "failover/daemon/process.h"
#include "net/tap.h"
#include "replication/replicated_disk.h"
#include "vmm/machine.h"

namespace understudy::bench {
namespace {

constexpr Term kTerm{1};

struct Options {
  MachineConfig machine;
  std::uint64_t memory_mib = 256;
  std::string tap;
  std::string mac;
  std::string disk;
};

int fail(const Error& error) {
  std::fprintf(stderr, "understudy-bench-machine: %s\n", error.text().c_str());
  return 1;
}

Result<std::unique_ptr<Egress>> start_egress(const Clock& clock, const std::string& tap, const MacAddress& mac, EgressGate*& gate) {
  US_ASSIGN(auto port, Tap::open(tap));
  // No peer and no witness here: who asks them whether the term still holds would be told yes.
  US_ASSIGN(auto egress, Egress::start(clock, std::move(port), {.mac = mac, .ipv4 = {}, .ipv6 = {}},
                                       {.gap = [&clock, &gate](Instant, Duration) { gate->confirm_term(kTerm, clock.now()); }}));
  gate = egress->gate().get();
  gate->solo(kTerm);
  return egress;
}

Result<void> run(Options options) {
  const MonotonicClock clock;
  // As the daemon does; it goes on without, too.
  static_cast<void>(lock_memory());
  const auto mac = MacAddress::parse(options.mac);
  if (!mac) return Error{ErrorCode::kInvalid, "--mac '" + options.mac + "' is no MAC address"};
  US_ASSIGN(auto memory, GuestMemory::create(options.memory_mib << 20));
  US_ASSIGN(auto io, open_block_io(options.disk, false));
  US_ASSIGN(auto disk, ReplicatedDisk::create(DiskImage::start(std::move(io), clock), {}));
  EgressGate* gate = nullptr;
  US_ASSIGN(const auto egress, start_egress(clock, options.tap, *mac, gate));

  options.machine.devices.serial_sink = [](ConstBytes bytes) {
    [[maybe_unused]] const auto written = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
  };
  options.machine.devices.net.push_back({.mac = *mac, .backend = egress->gate(), .queue_pairs = options.machine.vcpu_count});
  options.machine.devices.blk.push_back({std::move(disk)});
  // The main thread waits for the guest's end, or for the signal of whoever started this process.
  options.machine.on_event = [](const MachineEvent& event) {
    std::fprintf(stderr, "understudy-bench-machine: %s\n", event.text.c_str());
    ::kill(::getpid(), SIGTERM);
  };
  US_ASSIGN(const auto machine, Machine::create(std::move(options.machine), std::move(memory), clock));
  US_TRY(machine->boot());
  US_TRY(machine->resume());
  wait_for_stop_signal();
  return {};
}

int dispatch(int argc, char** argv) {
  Options options;
  bool pvh = false;
  CLI::App app{"One guest on Understudy's machine, without a pair; for tests/bench.", "understudy-bench-machine"};
  app.add_option("--kernel", options.machine.kernel_path, "the kernel's file")->required();
  app.add_option("--initrd", options.machine.initrd_path, "an initrd");
  app.add_option("--cmdline", options.machine.command_line, "the kernel's command line");
  app.add_flag("--pvh", pvh, "enter the kernel by PVH");
  app.add_option("--vcpus", options.machine.vcpu_count, "1 to 8");
  app.add_option("--memory-mib", options.memory_mib, "guest memory");
  app.add_option("--tap", options.tap, "the tap of the guest's network")->required();
  app.add_option("--mac", options.mac, "the guest's address on it")->required();
  app.add_option("--disk", options.disk, "the image of the guest's disk")->required();
  CLI11_PARSE(app, argc, argv);
  if (pvh) options.machine.boot_protocol = BootProtocol::kPvh;
  prepare_signals();
  const auto ended = run(std::move(options));
  return ended ? 0 : fail(ended.error());
}

}  // namespace
}  // namespace understudy::bench

int main(int argc, char** argv) { return understudy::bench::dispatch(argc, argv); }
