#include "tests/benchmarks/bench_vmm.h"

#include <algorithm>
#include <memory>

#include <fmt/format.h>

#include "tests/benchmarks/guest_client.h"
#include "tests/benchmarks/initrd.h"
#include "tests/benchmarks/scratch_files.h"
#include "tests/benchmarks/smaps.h"
#include "tests/benchmarks/tiny_kernel.h"
#include "tests/benchmarks/vmm_command.h"
#include "tests/benchmarks/vmm_process.h"
#include "tests/lab/child.h"
#include "vmm/machine.h"

namespace understudy::bench {

namespace {

constexpr const char* kTap = "bench0";
constexpr const char* kHostAddress = "10.78.0.1/24";
constexpr const char* kGuestIp = "10.78.0.2";
constexpr const char* kMac = "52:54:00:78:00:02";

// Bounds that only a hang breaks; times the machine's slowness.
constexpr Duration kFirstWordDeadline = std::chrono::seconds{20};
constexpr Duration kBootDeadline = std::chrono::seconds{90};
constexpr Duration kAnswerDeadline = std::chrono::seconds{20};
constexpr Duration kCommandDeadline = std::chrono::seconds{10};

constexpr std::uint32_t kSmallBlock = 4096;
constexpr std::uint32_t kDeep = 16;

struct DiskCase {
  Measure measure;
  DiskOrder order;
};
constexpr DiskCase kDiskCases[] = {
    {Measure::kDiskRead, {.operation = DiskOperation::kRead, .random = 0, .block_bytes = kMaxBlockBytes, .depth = 1}},
    {Measure::kDiskWrite, {.operation = DiskOperation::kWrite, .random = 0, .block_bytes = kMaxBlockBytes, .depth = 1}},
    {Measure::kDiskRandomRead, {.operation = DiskOperation::kRead, .random = 1, .block_bytes = kSmallBlock, .depth = 1}},
    {Measure::kDiskRandomWrite, {.operation = DiskOperation::kWrite, .random = 1, .block_bytes = kSmallBlock, .depth = 1}},
    {Measure::kDiskRandomReadDeep, {.operation = DiskOperation::kRead, .random = 1, .block_bytes = kSmallBlock, .depth = kDeep}},
    {Measure::kDiskRandomWriteDeep, {.operation = DiskOperation::kWrite, .random = 1, .block_bytes = kSmallBlock, .depth = kDeep}},
    {Measure::kDiskFlush, {.operation = DiskOperation::kWriteAndFlush, .random = 1, .block_bytes = kSmallBlock, .depth = 1}},
};

class Bench {
 public:
  using Say = std::function<void(const std::string&)>;
  Bench(const Clock& clock, const BenchOptions& options, Say say) : clock_{clock}, options_{options}, say_{std::move(say)} {}

  Result<void> prepare() {
    US_ASSIGN(const auto init, read_whole_file(options_.programs / "bench-guest-init"));
    US_ASSIGN(initrd_, make_memory_file("bench-initrd", make_initrd(init)));
    US_ASSIGN(tiny_kernel_, make_memory_file("bench-kernel", make_tiny_kernel()));
    US_ASSIGN(disk_, make_scratch_disk(options_.disk_folder, options_.disk_mib));
    if (!disk_.direct) say_(options_.disk_folder.string() + ": its file system has no O_DIRECT; both VMMs use the page cache");
    US_ASSIGN(kernel_help_, kernel_help_here());
    if (!kernel_help_.empty()) say_("this KVM's guests need help, which QEMU's is given as well:" + kernel_help_);
    US_TRY(command({"ip", "tuntap", "add", "dev", kTap, "mode", "tap"}));
    US_TRY(command({"ip", "address", "add", kHostAddress, "dev", kTap}));
    return command({"ip", "link", "set", kTap, "up"});
  }

  Comparison run() {
    for (unsigned round = 0; round < options_.rounds; ++round) {
      // Who begins changes, so that what drifts over time favours nobody.
      auto order = kBothVmms;
      if (round % 2 == 1) std::ranges::reverse(order);
      for (const Vmm vmm : order) {
        if (!has_failed(vmm)) measure_or_tell(vmm, round);
      }
    }
    return std::move(comparison_);
  }

 private:
  // What Understudy's machine tells a Linux guest on this KVM by itself.
  Result<std::string> kernel_help_here() const {
    US_ASSIGN(auto memory, GuestMemory::create(std::uint64_t{16} << 20));
    US_ASSIGN(const auto machine, Machine::create({}, std::move(memory), clock_));
    return machine->kernel_help();
  }

  bool has_failed(Vmm vmm) const { return failed_[static_cast<std::size_t>(vmm)]; }

  void measure_or_tell(Vmm vmm, unsigned round) {
    Result<void> measured;
    if (vmm == Vmm::kQemu && !options_.with_qemu)
      measured = Error{ErrorCode::kRefused, "left out, as asked"};
    else
      measured = measure(vmm);
    if (measured) {
      say_(fmt::format("round {} of {}: {} is measured", round + 1, options_.rounds, name_of(vmm)));
      return;
    }
    failed_[static_cast<std::size_t>(vmm)] = true;
    say_(fmt::format("round {} of {}: {}: {}", round + 1, options_.rounds, name_of(vmm), measured.error().text()));
    comparison_.missing(vmm, measured.error().text());
  }

  Result<void> command(const std::vector<std::string>& words) const {
    const auto done = lab::run_command(clock_, words, kCommandDeadline * options_.slowness);
    if (!done) return done.error();
    return {};
  }

  Result<std::unique_ptr<VmmProcess>> start(Vmm vmm, bool tiny) const {
    GuestSettings guest{.kernel = tiny ? tiny_kernel_.path() : options_.kernel.string(),
                        .initrd = tiny ? "" : initrd_.path(),
                        .vcpus = options_.vcpus,
                        .memory_mib = options_.memory_mib,
                        .tap = kTap,
                        .mac = kMac,
                        .guest_ip = kGuestIp,
                        .kernel_words = options_.kernel_words + (vmm == Vmm::kQemu ? kernel_help_ : ""),
                        .disk = disk_.file.path(),
                        .direct = disk_.direct};
    const auto machine = options_.programs / "understudy-bench-machine";
    return VmmProcess::start(clock_, vmm == Vmm::kUnderstudy ? understudy_command(machine.string(), guest) : qemu_command(kQemu, guest));
  }

  Result<void> measure(Vmm vmm) {
    {
      US_ASSIGN(const auto process, start(vmm, true));
      US_ASSIGN(const Instant spoke, process->wait_for(kFirstWord, kFirstWordDeadline * options_.slowness));
      comparison_.add(vmm, Measure::kFirstInstruction, to_ms(spoke - process->started_at()));
    }
    US_ASSIGN(const auto process, start(vmm, false));
    US_ASSIGN(const Instant init, process->wait_for(kInitLine, kBootDeadline * options_.slowness));
    comparison_.add(vmm, Measure::kBootToInit, to_ms(init - process->started_at()));
    US_TRY(process->wait_for(kReadyLine, kBootDeadline * options_.slowness));
    auto measured = measure_guest(vmm);
    if (!measured) return std::move(measured.error()).within(process->last_words());
    return measure_memory(vmm, process->pid());
  }

  Result<void> measure_guest(Vmm vmm) {
    const GuestClient client{clock_, {.guest_ip = kGuestIp, .each = options_.each, .deadline = kAnswerDeadline * options_.slowness}};
    const auto add = [&](Measure measure, Result<double> value) -> Result<void> {
      if (!value) return std::move(value.error()).within(info_of(measure).name);
      comparison_.add(vmm, measure, *value);
      return {};
    };
    US_TRY(add(Measure::kUdpRoundTrip, client.udp_round_trip_us()));
    US_TRY(add(Measure::kTcpRoundTrip, client.tcp_round_trip_us()));
    US_TRY(add(Measure::kTcpToGuest, client.tcp_to_guest_mib_s()));
    US_TRY(add(Measure::kTcpFromGuest, client.tcp_from_guest_mib_s()));
    for (const auto& [measure, order] : kDiskCases) {
      auto rate = client.disk_blocks_s(order);
      if (rate && order.block_bytes == kMaxBlockBytes) *rate *= kMaxBlockBytes / kMib;
      US_TRY(add(measure, std::move(rate)));
    }
    return {};
  }

  Result<void> measure_memory(Vmm vmm, pid_t pid) {
    US_ASSIGN(const auto smaps, read_whole_file(fmt::format("/proc/{}/smaps", pid)));
    US_ASSIGN(const auto bytes, pss_beyond_guest({reinterpret_cast<const char*>(smaps.data()), smaps.size()}, options_.memory_mib << 20));
    comparison_.add(vmm, Measure::kMemory, static_cast<double>(bytes) / kMib);
    return {};
  }

  const Clock& clock_;
  const BenchOptions& options_;
  const Say say_;
  ScratchFile initrd_;
  ScratchFile tiny_kernel_;
  ScratchDisk disk_;
  std::string kernel_help_;
  Comparison comparison_;
  std::array<bool, 2> failed_{};
};

}  // namespace

Result<Comparison> bench_vmm(const Clock& clock, const BenchOptions& options, const std::function<void(const std::string&)>& say) {
  Bench bench{clock, options, say};
  US_TRY(bench.prepare());
  return bench.run();
}

}  // namespace understudy::bench
