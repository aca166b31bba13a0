// The guest's start, and each vCPU's loop: vCPU 0 serves and may work beside it, the others work in the background.
#include <array>
#include <optional>
#include <string_view>

#include "tests/guest/block_device.h"
#include "tests/guest/boot_params.h"
#include "tests/guest/cpu.h"
#include "tests/guest/dirtier.h"
#include "tests/guest/kv_service.h"
#include "tests/guest/log_writer.h"
#include "tests/guest/net_device.h"
#include "tests/guest/options.h"
#include "tests/guest/power.h"
#include "tests/guest/report.h"
#include "tests/guest/service.h"
#include "tests/guest/torture.h"

extern "C" const unsigned char guest_image_end[];

namespace understudy::guest {
namespace {

constexpr std::uint64_t kMaxRamBytes = 0xc000'0000;  // what the guest's own page tables map as memory
constexpr std::size_t kMaxCommandLineBytes = 2048;

constinit std::array<char, kMaxCommandLineBytes> command_line_bytes{};
constinit Options options;
constinit NetDevice net;
constinit BlockDevice disk;
constinit LogWriter log_writer;
constinit KvService kv;
constinit Dirtier dirtier;
constinit TortureLayout torture_layout;
constinit std::array<Torture, kMaxCpus> tortures;
// Raised once everything above stands: the other vCPUs wait for it.
constinit volatile std::uint64_t go = 0;

std::string_view copy_command_line(std::uint64_t address) {
  const auto* const text = reinterpret_cast<const char*>(address);
  std::size_t length = 0;
  for (; address != 0 && length < command_line_bytes.size() && text[length] != 0; ++length) command_line_bytes[length] = text[length];
  return {command_line_bytes.data(), length};
}

// Zeroed memory behind the image, never given back.
class Arena {
 public:
  Arena(std::uint64_t start, std::uint64_t end) : next_{start}, end_{end} {}
  std::uint64_t take(std::uint64_t pages, std::string_view what) {
    if (end_ < next_ || pages > (end_ - next_) / 4096) stop(GuestState::kRefused, what, {{" needs more memory: pages=", pages}});
    const std::uint64_t taken = next_;
    next_ += pages * 4096;
    return taken;
  }

 private:
  std::uint64_t next_;
  std::uint64_t end_;
};

// One vCPU's part in torture or dirtier.
class Job {
 public:
  Job(Mode mode, CpuBlock& cpu) : mode_{mode}, cpu_{cpu} {
    const std::uint32_t index = cpu.index - published().torture_first_cpu;
    if (mode == Mode::kTorture) tortures[cpu.index].start(torture_layout, cpu, index);
  }
  // Works a little; returns the nanoseconds until there is more to do.
  std::uint64_t step() {
    if (mode_ == Mode::kTorture) {
      const std::uint64_t start = read_tsc();
      tortures[cpu_.index].step();
      // At most 10 ms: a checkpoint's pause, or another host's TSC, is no work.
      const std::uint64_t cycles = read_tsc() - start;
      const std::uint64_t worked_ns = cycles > published().tsc_khz * 10 ? 10'000'000 : cycles * 1'000 / (published().tsc_khz / 1'000);
      return worked_ns * (100 - options.duty_percent) / options.duty_percent;
    }
    if (mode_ == Mode::kDirtier) {
      const std::uint64_t rest_ns = dirtier.step(read_tsc());
      published().dirtier_pages = dirtier.pages();
      published().dirtier_missed = dirtier.missed();
      return rest_ns;
    }
    return kForever;
  }

 private:
  Mode mode_;
  CpuBlock& cpu_;
};

struct FoundDevices {
  std::optional<VirtioMmioPlace> net;
  std::optional<VirtioMmioPlace> disk;
};

FoundDevices find_devices() {
  FoundDevices found;
  for (std::uint32_t i = 0; i < options.device_count; ++i) {
    const VirtioMmioPlace place = options.devices[i];
    const std::uint32_t id = VirtioMmio{place.base}.probe();
    if (id == VirtioMmio::kNetDevice && !found.net) found.net = place;
    if (id == VirtioMmio::kBlockDevice && !found.disk) found.disk = place;
  }
  return found;
}

void start_devices(const FoundDevices& found, CpuBlock& cpu, std::uint32_t boot) {
  if (found.net) {
    route_device_interrupt(cpu, found.net->gsi);
    net.start(VirtioMmio{found.net->base});
  }
  if (found.disk) {
    route_device_interrupt(cpu, found.disk->gsi);
    disk.start(VirtioMmio{found.disk->base}, cpu);
  }
  const bool wants_log = options.mode == Mode::kBlockLog || (options.mode == Mode::kKv && options.log);
  if (!wants_log) return;
  if (disk.sectors() < options.log_start_sector + kLogMinSlots)
    refuse("the log needs a writable disk with more sectors than ", disk.sectors());
  const std::uint64_t room = disk.sectors() - options.log_start_sector;
  log_writer.start(disk, options.log_start_sector, options.log_sectors < room ? options.log_sectors : room, boot);
}

// Background work is what every vCPU but the first does; else the mode itself may be such work.
bool works_in_background() { return options.background != Mode::kNone; }
Mode job_mode() { return works_in_background() ? options.background : options.mode; }
std::uint32_t first_job_cpu() { return works_in_background() ? 1 : 0; }

Mode job_of(const CpuBlock& cpu) {
  if (cpu.index < first_job_cpu()) return Mode::kNone;
  if (job_mode() == Mode::kDirtier) return cpu.index == first_job_cpu() ? Mode::kDirtier : Mode::kNone;  // one vCPU paces it
  return job_mode() == Mode::kTorture ? Mode::kTorture : Mode::kNone;
}

void plan_jobs(Arena& arena, std::uint32_t cpus) {
  const Mode mode = job_mode();
  const std::uint32_t first = first_job_cpu();
  if (first >= cpus) refuse("background work needs a second vCPU, cpus=", cpus);
  if (mode == Mode::kTorture) {
    torture_layout = {arena.take(TortureLayout::pages_for(cpus - first), "torture"), cpus - first};
    published().torture_base = torture_layout.base;
    published().torture_first_cpu = first;
    published().torture_cpu_count = cpus - first;
  }
  if (mode == Mode::kDirtier) {
    const std::uint64_t base = arena.take(options.working_set_pages, "dirtier");
    published().dirtier_base = base;
    published().dirtier_working_set_pages = options.working_set_pages;
    dirtier.start({base, options.working_set_pages, options.pages_per_second, options.bytes_per_page, published().tsc_khz}, read_tsc());
  }
}

[[noreturn]] void serve(Service& service, Job job, CpuBlock& cpu) {
  for (;;) {
    ++published().loop_turns;
    const std::uint64_t seen = cpu.wakeups;
    const bool worked = service.serve_frames();
    if (kv.end_asked()) end_guest(*kv.end_asked());
    if (power_button_pressed(cpu)) end_guest(GuestEnd::kPowerOff);
    const std::uint64_t log_due = service.write_log();
    const std::uint64_t job_due = job.step();
    const std::uint64_t due = log_due < job_due ? log_due : job_due;
    if (worked || due == 0 || service.ask_interrupts()) continue;
    if (due != kForever) arm_timer(due);
    guest_wait(&cpu.wakeups, seen);
  }
}

[[noreturn]] void run_first_cpu(CpuBlock& cpu, const unsigned char* zero_page) {
  mask_legacy_interrupts();
  const auto image_end = reinterpret_cast<std::uint64_t>(guest_image_end);
  const BootParams boot = parse_boot_params(std::span<const unsigned char, 4096>{zero_page, 4096}, image_end);
  options = parse_options(copy_command_line(boot.command_line));
  if (!options.bad.empty()) stop(GuestState::kRefused, options.bad, {{" on the command line cannot be", {}}});
  if (boot.ram_end == 0) refuse("the memory map has no RAM at the image's end ", image_end);
  enable_local_apic(cpu);
  Published& page = published();
  page.tsc_khz = options.tsc_khz != 0 ? options.tsc_khz : measure_tsc_khz();
  page.cpus[0].online = 1;
  page.cpu_count = start_other_cpus(page.tsc_khz);

  const auto boot_count = static_cast<std::uint32_t>(read_tsc() >> 8) | 1;  // no clock, no store: the TSC tells two boots apart
  kv.set_boot_count(boot_count);
  const FoundDevices found = find_devices();
  start_devices(found, cpu, boot_count);
  listen_to_power_button(cpu);
  Arena arena{(image_end + 0x1f'ffff) & ~std::uint64_t{0x1f'ffff}, boot.ram_end < kMaxRamBytes ? boot.ram_end : kMaxRamBytes};
  plan_jobs(arena, page.cpu_count);
  page.state = static_cast<std::uint32_t>(GuestState::kRunning);
  __atomic_store_n(&page.magic, kPublishedMagic, __ATOMIC_RELEASE);
  __atomic_store_n(&go, 1, __ATOMIC_RELEASE);
  for (std::uint32_t i = 1; i < page.cpu_count; ++i) wake_cpu(cpu_block(i));
  report("ready",
         {{" cpus=", page.cpu_count}, {" tsc_khz=", page.tsc_khz}, {" net=", found.net.has_value()}, {" disk_sectors=", disk.sectors()}});

  Service service{options, cpu, found.net ? &net : nullptr, found.net ? found.net->gsi : 0, kv, log_writer};
  serve(service, Job{job_of(cpu), cpu}, cpu);
}

[[noreturn]] void run_other_cpu(CpuBlock& cpu) {
  enable_local_apic(cpu);
  __atomic_store_n(&published().cpus[cpu.index].online, 1, __ATOMIC_RELEASE);
  while (go == 0) guest_wait(&go, 0);
  Job job{job_of(cpu), cpu};
  for (;;) {
    const std::uint64_t seen = cpu.wakeups;
    const std::uint64_t due = job.step();
    if (due == 0) continue;
    if (due != kForever) arm_timer(due);
    guest_wait(&cpu.wakeups, seen);
  }
}

}  // namespace
}  // namespace understudy::guest

extern "C" [[noreturn]] void guest_main(understudy::guest::CpuBlock* cpu, const unsigned char* zero_page) {
  cpu->index = 0;
  understudy::guest::run_first_cpu(*cpu, zero_page);
}

extern "C" [[noreturn]] void guest_ap_main(understudy::guest::CpuBlock* cpu) {
  extern volatile std::uint32_t smp_starting_index;
  cpu->index = smp_starting_index;
  understudy::guest::run_other_cpu(*cpu);
}
