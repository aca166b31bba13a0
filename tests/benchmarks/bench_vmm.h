// The comparison's run: both VMMs in turn, several rounds, the same guest.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "net/base/clock.h"
#include "net/base/result.h"
#include "tests/benchmarks/comparison.h"

namespace understudy::bench {

struct BenchOptions {
  std::filesystem::path programs;     // understudy-bench-machine and bench-guest-init
  std::filesystem::path kernel;       // a Linux kernel with a PVH entry
  std::filesystem::path disk_folder;  // where the scratch disk lies, on the file system to be measured
  bool with_qemu = true;
  unsigned rounds = 5;
  unsigned vcpus = 1;
  std::uint64_t memory_mib = 256;
  std::uint64_t disk_mib = 256;
  Duration each = std::chrono::milliseconds{1000};
  std::string kernel_words;  // more of them, for the guest kernel's command line
  unsigned slowness = 1;
};

// In a network namespace of its own (tests/lab/lab). A VMM that fails is told of in the comparison, and the other goes on. An error:
// nothing could be measured at all, with the mend.
Result<Comparison> bench_vmm(const Clock& clock, const BenchOptions& options, const std::function<void(const std::string&)>& say);

}  // namespace understudy::bench
