// `understudy-bench`: the benchmarks, inside the lab's isolation. tests/bench is its front door.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "tests/benchmarks/bench_vmm.h"

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

int run(const BenchOptions& options, const std::string& json_file) {
  if (::access("/dev/kvm", R_OK | W_OK) != 0)
    return fail("/dev/kvm can't be opened: enable virtualization in the firmware (or nested virtualization), then 'modprobe kvm'");
  if (std::getenv("LAB_DIR") == nullptr)
    return fail("it makes a tap, and needs a network of its own: use tests/bench, or tests/lab/lab run -- understudy-bench ...");
  const MonotonicClock clock;
  const auto compared = bench_vmm(clock, options, [](const std::string& line) {
    std::printf("bench: %s\n", line.c_str());
    std::fflush(stdout);
  });
  if (!compared) return fail(compared.error().text());
  const auto rows = compared->rows();
  std::fputs(as_text(rows).c_str(), stdout);
  if (!json_file.empty()) {
    std::ofstream file{json_file};
    file << as_json(rows);
    if (!file.flush()) return fail("could not write " + json_file);
  }
  return compared->complete(Vmm::kUnderstudy) && (compared->complete(Vmm::kQemu) || !options.with_qemu) ? kGood : kIncomplete;
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
  return run(options, json_file);
}

}  // namespace
}  // namespace understudy::bench

int main(int argc, char** argv) { return understudy::bench::dispatch(argc, argv); }
