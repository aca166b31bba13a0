#include "tests/benchmarks/bench_checkpoint.h"

#include <algorithm>
#include <fstream>
#include <memory>
#include <thread>

#include <fmt/format.h>

#include "tests/benchmarks/colo_pair.h"
#include "tests/benchmarks/cpu_use.h"
#include "tests/benchmarks/guest_client.h"
#include "tests/benchmarks/initrd.h"
#include "tests/benchmarks/scratch_files.h"
#include "tests/benchmarks/understudy_pair.h"
#include "tests/benchmarks/vmm_command.h"
#include "tests/lab/lab_pair.h"
#include "tests/lab/netns.h"
#include "vmm/machine.h"

namespace understudy::bench {

namespace {

constexpr Duration kBootWithin = std::chrono::seconds{120};
constexpr Duration kAnswerWithin = std::chrono::seconds{20};
constexpr Duration kEchoWithin = std::chrono::seconds{2};

class CheckpointBench {
 public:
  using Say = std::function<void(const std::string&)>;
  CheckpointBench(const Clock& clock, const CheckpointOptions& options, Say say) : clock_{clock}, options_{options}, say_{std::move(say)} {}

  Result<void> prepare() {
    US_ASSIGN(const auto init, read_whole_file(options_.programs / "bench-guest-init"));
    const auto initrd = make_initrd(init);
    std::ofstream file{initrd_path(), std::ios::binary};
    file.write(reinterpret_cast<const char*>(initrd.data()), static_cast<std::streamsize>(initrd.size()));
    if (!file.flush()) return Error::from_errno("write " + initrd_path().string());
    // What Understudy's machine tells a Linux guest on this KVM by itself.
    US_ASSIGN(auto memory, GuestMemory::create(std::uint64_t{16} << 20));
    US_ASSIGN(const auto machine, Machine::create({}, std::move(memory), clock_));
    kernel_help_ = machine->kernel_help();
    if (!kernel_help_.empty()) say_("this KVM's guests need help, which QEMU's is given as well:" + kernel_help_);
    return {};
  }

  CheckpointFigures run() {
    for (unsigned round = 0; round < options_.rounds; ++round) {
      for (const unsigned interval_ms : options_.intervals_ms) {
        // Who begins changes, so that what drifts over time favours nobody.
        auto systems = options_.systems;
        if (round % 2 == 1) std::ranges::reverse(systems);
        for (const System system : systems) {
          if (figures_.missing().contains(system)) continue;
          if (auto measured = measure(system, interval_ms); !measured) {
            figures_.missing(system, measured.error().text());
            say_(fmt::format("{}: {}", name_of(system), measured.error().text()));
          }
        }
        say_(fmt::format("round {} of {}: measured at {} ms", round + 1, options_.rounds, interval_ms));
      }
    }
    return std::move(figures_);
  }

 private:
  std::filesystem::path initrd_path() const { return options_.folder / "initrd"; }

  Result<std::unique_ptr<ProtectedGuest>> start(System system, unsigned interval_ms) {
    const Duration interval = std::chrono::milliseconds{interval_ms};
    if (system != System::kColo) {
      const auto folder = options_.folder / fmt::format("pair-{}", ++pairs_);
      std::filesystem::create_directory(folder);
      return start_understudy(clock_,
                              {.programs = options_.programs,
                               .folder = folder,
                               .kernel = options_.kernel,
                               .initrd = initrd_path(),
                               .kernel_words = options_.kernel_words,
                               .memory_mib = options_.guest.ram_mib,
                               .vcpus = options_.guest.vcpus,
                               .slowness = options_.slowness},
                              interval);
    }
    const ColoOptions colo{.qemu = kQemu,
                           .folder = options_.folder,
                           .kernel = options_.kernel.string(),
                           .initrd = initrd_path().string(),
                           .kernel_words = options_.kernel_words + kernel_help_,
                           .memory_mib = options_.guest.ram_mib,
                           .vcpus = options_.guest.vcpus,
                           .boot_deadline = kBootWithin * options_.slowness,
                           .deadline = kAnswerWithin * options_.slowness};
    if (!std::filesystem::exists(saved_guest(colo))) US_TRY(save_colo_guest(clock_, colo));
    return start_colo(clock_, colo, interval);
  }

  // One pair: the guest alone with each working set, protected with each, and at last its primary killed.
  Result<void> measure(System system, unsigned interval_ms) {
    US_ASSIGN(const auto guest, start(system, interval_ms));
    const bool has_network = system != System::kColo;
    US_TRY(guest->unprotect());
    for (const std::uint32_t pages : options_.pages)
      US_TRY(measure_case(*guest, {.system = unprotected(system), .interval_ms = 0, .pages = pages}, has_network));
    if (has_network) US_TRY(measure_idle(*guest, unprotected(system), 0));
    US_TRY(guest->load().order(clock_, 0, kAnswerWithin * options_.slowness));
    US_TRY(guest->protect());
    for (const std::uint32_t pages : options_.pages)
      US_TRY(measure_case(*guest, {.system = system, .interval_ms = interval_ms, .pages = pages}, has_network));
    if (has_network) US_TRY(measure_idle(*guest, system, interval_ms));
    US_TRY(guest->load().order(clock_, options_.pages.front(), kAnswerWithin * options_.slowness));
    std::this_thread::sleep_for(options_.settle);
    US_ASSIGN(const double kill_ms, guest->kill_to_run_ms());
    figures_.add_kill(system, interval_ms, kill_ms);
    return {};
  }

  Result<void> measure_case(ProtectedGuest& guest, const Case& at, bool has_network) {
    US_TRY(guest.load().order(clock_, at.pages, kAnswerWithin * options_.slowness));
    std::this_thread::sleep_for(options_.settle);
    US_ASSIGN(const Window window, quiet_window(guest, at));
    figures_.add(at, window);
    if (!has_network) return {};
    US_ASSIGN(const auto samples, round_trips(&GuestClient::udp_round_trips_us));
    if (const auto trip = round_trip(samples)) figures_.add_echo(at, *trip);
    return {};
  }

  Result<void> measure_idle(ProtectedGuest& guest, System system, unsigned interval_ms) {
    US_TRY(guest.load().order(clock_, kIdle, kAnswerWithin * options_.slowness));
    std::this_thread::sleep_for(options_.settle);
    US_ASSIGN(const auto pings, round_trips(&GuestClient::ping_round_trips_us));
    US_ASSIGN(const auto datagrams, round_trips(&GuestClient::udp_round_trips_us));
    const auto ping = round_trip(pings);
    const auto udp = round_trip(datagrams);
    if (ping && udp) figures_.add_idle(system, interval_ms, *ping, *udp);
    return {};
  }

  // Tried again until nothing else worked beside it.
  Result<Window> quiet_window(ProtectedGuest& guest, const Case& at) {
    double foreign = 0;
    for (unsigned tried = 0; tried < options_.windows_tried; ++tried) {
      Window window;
      US_ASSIGN(foreign, measure_window(guest, at, window));
      if (options_.foreign_cores <= 0 || foreign <= options_.foreign_cores) return window;
      figures_.discarded_window();
      say_(fmt::format("{}, {} pages: a window is thrown away: something else used {:.2f} cores", name_of(at.system), at.pages, foreign));
    }
    return Error{ErrorCode::kUnavailable,
                 fmt::format("{} windows in a row were no measurement, since something else used {:.2f} cores in the "
                             "last: leave the machine alone, or see --allow-noise",
                             options_.windows_tried, foreign)};
  }

  // How many cores somebody else used meanwhile.
  Result<double> measure_window(ProtectedGuest& guest, const Case& at, Window& window) {
    const bool is_protected = at.interval_ms != 0;
    if (is_protected) US_TRY(guest.begin_window());
    US_ASSIGN(const CpuReading cpu_before, read_cpu_use(clock_));
    const LoadReading before = guest.load().read(clock_);
    std::this_thread::sleep_for(options_.each);
    const LoadReading now = guest.load().read(clock_);
    US_ASSIGN(const CpuReading cpu_now, read_cpu_use(clock_));
    if (is_protected) {
      US_ASSIGN(EpochFigures epochs, guest.end_window());
      window.pauses_us = std::move(epochs.pauses_us);
      window.acks_us = std::move(epochs.acks_us);
      window.link_bytes = epochs.link_bytes;
      window.gaps_us = longest_gaps_us(before, now, window.pauses_us.size());
    }
    const double seconds = std::chrono::duration<double>(cpu_now.at - cpu_before.at).count();
    window.writes_per_second = writes_per_second(before, now);
    window.cpu_cores = (cpu_now.own - cpu_before.own) / seconds;
    return std::max(0.0, (cpu_now.all - cpu_before.all) / seconds - window.cpu_cores);
  }

  // From the lab's client, through the gate.
  Result<std::vector<double>> round_trips(Result<std::vector<double>> (GuestClient::*measured)() const) const {
    Result<std::vector<double>> samples = Error{ErrorCode::kFailed, "no round trip was tried"};
    std::thread{[&] {
      if (auto entered = lab::enter_namespace(lab::kClientMachine); !entered) {
        samples = entered.error();
        return;
      }
      const GuestClient client{clock_,
                               {.guest_ip = lab::kGuestIp.text(), .each = options_.echo_each, .deadline = kEchoWithin * options_.slowness}};
      samples = (client.*measured)();
    }}.join();
    return samples;
  }

  const Clock& clock_;
  const CheckpointOptions& options_;
  const Say say_;
  std::string kernel_help_;
  unsigned pairs_ = 0;
  CheckpointFigures figures_;
};

}  // namespace

Result<CheckpointFigures> bench_checkpoint(const Clock& clock, const CheckpointOptions& options,
                                           const std::function<void(const std::string&)>& say) {
  CheckpointBench bench{clock, options, say};
  US_TRY(bench.prepare());
  return bench.run();
}

}  // namespace understudy::bench
