// Protection measured: Understudy's pair and QEMU's COLO, in turn, under the same load.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "net/base/clock.h"
#include "net/base/result.h"
#include "tests/benchmarks/checkpoint_figures.h"

namespace understudy::bench {

struct CheckpointOptions {
  std::filesystem::path programs;
  std::filesystem::path folder;  // empty; may be on a tmpfs
  std::filesystem::path kernel;
  std::string kernel_words;
  std::vector<System> systems{System::kUnderstudy, System::kColo};
  std::vector<unsigned> intervals_ms{500, 100, 20};
  std::vector<std::uint32_t> pages{0, 256, 1024, 4096, 16384};
  unsigned rounds = 3;
  Duration each = std::chrono::seconds{4};       // a window
  Duration echo_each = std::chrono::seconds{2};  // round trips
  Duration settle = std::chrono::seconds{1};     // after every change, before a window
  double foreign_cores = 0.08;                   // in a window in which anything else used more nothing is measured; 0: never mind
  unsigned windows_tried = 8;                    // so often, for one that counts
  GuestSize guest{.ram_mib = 256, .vcpus = 1};
  unsigned slowness = 1;
};

// `say`: progress, a line each. An error: nothing could be measured. What is missing of a system is in the figures.
Result<CheckpointFigures> bench_checkpoint(const Clock& clock, const CheckpointOptions& options,
                                           const std::function<void(const std::string&)>& say);

}  // namespace understudy::bench
