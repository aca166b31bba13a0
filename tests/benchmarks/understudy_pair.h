// Understudy's pair as it is deployed: two daemons and a witness as processes, on the lab's machines, with keys, over TCP.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "net/base/clock.h"
#include "tests/benchmarks/protected_guest.h"

namespace understudy::bench {

struct UnderstudyOptions {
  std::filesystem::path programs;
  std::filesystem::path folder;  // empty; for everything that the pair writes
  std::filesystem::path kernel;
  std::filesystem::path initrd;
  std::string kernel_words;
  unsigned memory_mib = 256;
  unsigned vcpus = 1;
  unsigned slowness = 1;
};

// Protected. `interval`: of an epoch.
Result<std::unique_ptr<ProtectedGuest>> start_understudy(const Clock& clock, const UnderstudyOptions& options, Duration interval);

}  // namespace understudy::bench
