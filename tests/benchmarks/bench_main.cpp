// `understudy-bench`: the benchmarks, inside the lab's isolation. tests/bench is its front door.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "tests/benchmarks/bench_checkpoint.h"
#include "tests/benchmarks/bench_vmm.h"
#include "tests/benchmarks/load_page.h"

namespace understudy::bench {
namespace {

constexpr int kGood = 0;
constexpr int kIncomplete = 1;
constexpr int kNotRun = 2;

constexpr Duration kShortEach = std::chrono::milliseconds{100};
constexpr std::uint64_t kShortDiskMib = 16;

int fail(const std::string& text) {
  std::fprintf(stderr, "bench: error: %s\n", text.c_str());
  return kNotRun;
}

void tell(const std::string& line) {
  std::printf("bench: %s\n", line.c_str());
  std::fflush(stdout);
}

// Why nothing can be measured here; empty: it can.
std::string lacking() {
  if (::access("/dev/kvm", R_OK | W_OK) != 0)
    return "/dev/kvm can't be opened: enable virtualization in the firmware (or nested virtualization), then 'modprobe kvm'";
  if (std::getenv("LAB_DIR") == nullptr)
    return "it needs a network of its own: use tests/bench, or tests/lab/lab run -- understudy-bench ...";
  return {};
}

// Nothing, where no file is wanted.
bool write_file(const std::string& path, const std::string& text) {
  if (path.empty()) return true;
  std::ofstream file{path};
  file << text;
  return static_cast<bool>(file.flush());
}

int run_vmm(const BenchOptions& options, const std::string& json_file) {
  if (const std::string why = lacking(); !why.empty()) return fail(why);
  const MonotonicClock clock;
  const auto compared = bench_vmm(clock, options, tell);
  if (!compared) return fail(compared.error().text());
  const auto rows = compared->rows();
  std::fputs(as_text(rows).c_str(), stdout);
  if (!write_file(json_file, as_json(rows))) return fail("could not write " + json_file);
  return compared->complete(Vmm::kUnderstudy) && (compared->complete(Vmm::kQemu) || !options.with_qemu) ? kGood : kIncomplete;
}

int run_checkpoint(CheckpointOptions options, const std::string& json_file, const std::string& plot_file) {
  if (const std::string why = lacking(); !why.empty()) return fail(why);
  options.folder = std::filesystem::path{std::getenv("LAB_DIR")} / "bench";
  std::filesystem::create_directory(options.folder);
  const MonotonicClock clock;
  const auto figures = bench_checkpoint(clock, options, tell);
  if (!figures) return fail(figures.error().text());
  std::fputs(checkpoint_as_text(*figures).c_str(), stdout);
  if (!write_file(json_file, checkpoint_as_json(*figures, options.guest))) return fail("could not write " + json_file);
  if (!write_file(plot_file, checkpoint_as_svg(*figures))) return fail("could not write " + plot_file);
  return figures->missing().empty() ? kGood : kIncomplete;
}

int dispatch(int argc, char** argv) {
  CLI::App app{"Benchmarks, inside the lab. Easier: tests/bench.", "understudy-bench"};
  app.require_subcommand(1);
  BenchOptions options;
  std::error_code ignored;
  options.programs = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
  options.kernel = options.programs.parent_path() / "linux" / "vmlinux";
  options.disk_folder = options.programs.parent_path() / "bench";
  std::string json_file;
  bool brief = false;
  bool without_qemu = false;
  CLI::App* const vmm = app.add_subcommand("vmm", "Understudy's machine, unprotected, beside QEMU's microvm");
  vmm->add_option("--json", json_file, "also write the figures there, as JSON");
  vmm->add_flag("--short", brief, "one round of brief measurements, for tests: its figures mean little");
  vmm->add_flag("--without-qemu", without_qemu, "Understudy alone");
  vmm->add_option("--rounds", options.rounds, "both VMMs so many times, in turn")->check(CLI::Range(1, 100));
  vmm->add_option("--vcpus", options.vcpus, "of the guest")->check(CLI::Range(1, 8));
  vmm->add_option("--kernel", options.kernel, "a Linux kernel with a PVH entry; else ../linux/vmlinux beside the programs");
  vmm->add_option("--kernel-words", options.kernel_words, "more words for the guest kernel's command line, in both VMMs");
  vmm->add_option("--disk-folder", options.disk_folder, "where the scratch disk lies; else ../bench beside the programs");
  vmm->add_option("--slowness", options.slowness, "this machine is so many times slower than usual: deadlines are as much longer")
      ->check(CLI::Range(1, 100));

  CheckpointOptions checkpoint;
  checkpoint.programs = options.programs;
  checkpoint.kernel = options.kernel;
  std::string plot_file;
  int seconds = 0;
  bool quick = false;
  bool shortest = false;
  std::vector<std::string> systems{"understudy", "colo"};
  bool allow_noise = false;
  CLI::App* const protection = app.add_subcommand("checkpoint", "Understudy's pair beside QEMU's COLO, under the same load");
  protection->add_option("--json", json_file, "also write the figures there, as JSON");
  protection->add_option("--plot", plot_file, "also draw them there, as SVG");
  protection->add_flag("--quick", quick, "one round at one interval with three working sets");
  protection->add_flag("--short", shortest, "one brief window each, for tests: its figures mean little");
  protection->add_option("--systems", systems, "what is measured")->delimiter(',')->check(CLI::IsMember({"understudy", "colo"}));
  protection->add_flag("--allow-noise", allow_noise, "take windows in which something else used the machine, too");
  protection->add_option("--rounds", checkpoint.rounds, "every pair so many times, in turn")->check(CLI::Range(1, 100));
  protection->add_option("--intervals", checkpoint.intervals_ms, "between two checkpoints, in ms")
      ->delimiter(',')
      ->check(CLI::Range(5, 10'000));
  protection->add_option("--pages", checkpoint.pages, "of the working set")->delimiter(',')->check(CLI::Range(0U, kMaxLoadPages));
  protection->add_option("--seconds", seconds, "a window")->check(CLI::Range(1, 600));
  protection->add_option("--vcpus", checkpoint.guest.vcpus, "of the guest")->check(CLI::Range(1, 8));
  protection->add_option("--ram-mib", checkpoint.guest.ram_mib, "of the guest")->check(CLI::Range(192, 65'536));
  protection->add_option("--kernel", checkpoint.kernel, "a Linux kernel with a PVH entry; else ../linux/vmlinux beside the programs");
  protection->add_option("--kernel-words", checkpoint.kernel_words, "more words for the guest kernel's command line, in both VMMs");
  protection->add_option("--slowness", checkpoint.slowness, "this machine is so many times slower than usual: deadlines are as much longer")
      ->check(CLI::Range(1, 100));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kGood : kNotRun;
  }
  options.with_qemu = !without_qemu;
  if (brief) {
    options.rounds = 1;
    options.each = kShortEach;
    options.disk_mib = kShortDiskMib;
  }
  if (vmm->parsed()) return run_vmm(options, json_file);
  if (quick || shortest) {
    if (protection->count("--rounds") == 0) checkpoint.rounds = 1;
    if (protection->count("--intervals") == 0) checkpoint.intervals_ms = {100};
    if (protection->count("--pages") == 0) checkpoint.pages = {0, 1024, 4096};
  }
  if (shortest) {
    checkpoint.each = kShortEach * 5;
    checkpoint.echo_each = kShortEach;
    checkpoint.settle = kShortEach;
  } else if (seconds > 0) {
    checkpoint.each = std::chrono::seconds{seconds};
  }
  checkpoint.systems.clear();
  for (const System system : {System::kUnderstudy, System::kColo})
    if (std::ranges::find(systems, name_of(system)) != systems.end()) checkpoint.systems.push_back(system);
  if (allow_noise || shortest) checkpoint.foreign_cores = 0;
  return run_checkpoint(std::move(checkpoint), json_file, plot_file);
}

}  // namespace
}  // namespace understudy::bench

int main(int argc, char** argv) { return understudy::bench::dispatch(argc, argv); }
