// QEMU's COLO (docs/COLO-FT.txt): two microvms of Debian's package, driven through QMP, over a Unix socket: over TCP each checkpoint waits
// some 40 ms more. No disk, no network, and so no comparison of output: its secondary's guest runs along, and its state drifts from the
// primary's until the next checkpoint.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/base/clock.h"
#include "tests/benchmarks/protected_guest.h"

namespace understudy::bench {

struct ColoOptions {
  std::string qemu;
  std::filesystem::path folder;  // for sockets, logs and the saved guest
  std::string kernel;
  std::string initrd;
  std::string kernel_words;
  std::uint64_t memory_mib = 256;
  unsigned vcpus = 1;
  Duration boot_deadline;
  Duration deadline;  // of an answer
};

// Boots the guest and saves it, once, so that no pair has to wait for a boot: as `saved_guest(options)`.
Result<void> save_colo_guest(const Clock& clock, const ColoOptions& options);
std::filesystem::path saved_guest(const ColoOptions& options);

// From the saved guest; unprotected. `interval`: between two checkpoints.
Result<std::unique_ptr<ProtectedGuest>> start_colo(const Clock& clock, const ColoOptions& options, Duration interval);

// How long the VM stood still each time, from QEMU's trace events `runstate_set` ("PID@SECONDS.MICROSECONDS:runstate_set ..."). Pure.
std::vector<double> stops_us(std::string_view trace);

}  // namespace understudy::bench
