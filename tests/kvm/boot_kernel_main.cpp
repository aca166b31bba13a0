// boot_kernel KERNEL: boots any kernel on our machine, with disks and networks in memory, its console on standard output. Ends with the
// guest: status 0 after a power-off, 1 after any other end, 2 when it could not be booted or did not end in time.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include <CLI/CLI.hpp>

#include "tests/kvm/guest_backends.h"
#include "vmm/machine.h"

namespace understudy::test {
namespace {

struct Options {
  MachineConfig machine;
  std::uint64_t memory_mib = 512;
  unsigned disks = 1;
  std::string image;
  unsigned nets = 1;
  unsigned seconds = 600;
  std::string press_power_at;
};

void add_devices(const Options& options, DevicesConfig& devices) {
  if (!options.image.empty()) {
    std::ifstream file{options.image, std::ios::binary};
    std::vector<std::byte> content(std::filesystem::file_size(options.image));
    file.read(reinterpret_cast<char*>(content.data()), static_cast<std::streamsize>(content.size()));
    devices.blk.push_back({std::make_shared<MemoryDisk>(std::move(content), std::chrono::microseconds{50}, 0)});
  }
  for (unsigned i = 0; i < options.nets; ++i) {
    const MacAddress mac{{0x52, 0x54, 0, 0, 0, static_cast<std::uint8_t>(i)}};
    devices.net.push_back({.mac = mac, .backend = std::make_shared<MemoryNet>(), .queue_pairs = options.machine.vcpu_count});
  }
  constexpr std::size_t kDiskBytes = std::size_t{1} << 20;
  for (unsigned i = 0; i < options.disks; ++i)
    devices.blk.push_back({std::make_shared<MemoryDisk>(std::vector<std::byte>(kDiskBytes), std::chrono::microseconds{50}, i)});
}

int fail(const Error& error) {
  std::fprintf(stderr, "boot_kernel: %s\n", error.text().c_str());
  return 2;
}

// Copies the console to standard output, and looks for a text in it.
class Console {
 public:
  explicit Console(std::string text) : text_{std::move(text)} {}
  void output(ConstBytes bytes) {
    [[maybe_unused]] const auto written = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (text_.empty() || seen_) return;
    latest_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    seen_ = latest_.find(text_) != std::string::npos;
    if (latest_.size() > 2 * text_.size()) latest_.erase(0, latest_.size() - text_.size());
  }
  bool seen() const { return seen_; }

 private:
  const std::string text_;
  std::string latest_;
  std::atomic<bool> seen_{false};
};

int run(Options options) {
  const MonotonicClock clock;
  auto memory = GuestMemory::create(options.memory_mib << 20);
  if (!memory) return fail(memory.error());
  std::atomic<bool> ended{false};
  options.machine.on_event = [&](const MachineEvent&) { ended = true; };
  Console console{options.press_power_at};
  options.machine.devices.serial_sink = [&](ConstBytes bytes) { console.output(bytes); };
  add_devices(options, options.machine.devices);
  auto machine = Machine::create(std::move(options.machine), *memory, clock);
  if (!machine) return fail(machine.error());
  if (auto booted = (*machine)->boot(); !booted) return fail(booted.error());
  if (auto resumed = (*machine)->resume(); !resumed) return fail(resumed.error());
  bool pressed = false;
  for (unsigned tenths = 0; !ended && tenths < options.seconds * 10; ++tenths) {
    if (console.seen() && !pressed) {
      pressed = true;
      std::fprintf(stderr, "boot_kernel: the power button is pressed%s\n",
                   (*machine)->press_power_button() ? "" : ", and the guest does not listen");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds{100});
  }
  const auto event = (*machine)->event();
  std::fprintf(stderr, "boot_kernel: %s; %llu exits\n", event ? event->text.c_str() : "the guest did not end in time",
               static_cast<unsigned long long>((*machine)->exits()));
  if (!event) return 2;
  return event->kind == MachineEventKind::kPowerOff ? 0 : 1;
}

}  // namespace
}  // namespace understudy::test

int main(int argc, char** argv) {
  understudy::test::Options options;
  CLI::App app{"Boots a kernel on Understudy's machine, with its console on standard output."};
  app.add_option("kernel", options.machine.kernel_path, "the kernel's file")->required();
  app.add_option("--initrd", options.machine.initrd_path, "an initrd");
  app.add_option("--cmdline", options.machine.command_line, "the kernel's command line");
  app.add_flag("--virtio-on-cmdline,!--no-virtio-on-cmdline", options.machine.virtio_on_command_line,
               "whether the devices are named on the command line as well (they are in the ACPI tables)");
  app.add_option("--protocol", options.machine.boot_protocol, "linux64 or pvh; else what suits the file")
      ->transform(CLI::CheckedTransformer(std::map<std::string, understudy::BootProtocol>{{"linux64", understudy::BootProtocol::kLinux64},
                                                                                          {"pvh", understudy::BootProtocol::kPvh}}));
  app.add_option("--vcpus", options.machine.vcpu_count, "1 to 8");
  app.add_option("--memory-mib", options.memory_mib, "guest memory");
  app.add_option("--image", options.image, "the first disk's content, which is read and never written")->check(CLI::ExistingFile);
  app.add_option("--disks", options.disks, "disks of 1 MiB, further ones");
  app.add_option("--nets", options.nets, "networks that lead nowhere, with a queue pair a vCPU");
  app.add_option("--press-power-at", options.press_power_at, "presses the power button once the console has shown this text");
  app.add_option("--seconds", options.seconds, "how long the guest may run");
  CLI11_PARSE(app, argc, argv);
  return understudy::test::run(std::move(options));
}
