// The load of a guest, seen and steered from outside, through the memfd that is its VMM's guest memory.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

#include "net/base/clock.h"
#include "net/base/result.h"
#include "tests/benchmarks/load_page.h"

namespace understudy::bench {

// The load's counters at one time.
struct LoadReading {
  Instant at;
  std::uint64_t tsc = 0;  // this host's
  std::uint64_t writes = 0;
  std::array<std::uint32_t, kGapBuckets> gaps{};
};

// What a load did between two readings. Pure.
double writes_per_second(const LoadReading& from, const LoadReading& to);
// The `count` longest gaps between the readings, in microseconds, ascending; fewer where there were fewer. Each stands for its bucket's
// middle, and so is known to a sixteenth.
std::vector<double> longest_gaps_us(const LoadReading& from, const LoadReading& to, std::size_t count);

// One thread.
class LoadView {
 public:
  // Looks for the load in the memory of `pid`, which holds `memory_mib` of guest, until it is there. kTimeout after `deadline`;
  // kUnavailable when the process is gone.
  static Result<std::unique_ptr<LoadView>> find(const Clock& clock, pid_t pid, std::uint64_t memory_mib, Duration deadline);
  // The same page in another process: of a guest that was copied.
  static Result<std::unique_ptr<LoadView>> open(pid_t pid, std::uint64_t memory_mib, std::uint64_t at_byte);
  ~LoadView();
  LoadView(const LoadView&) = delete;
  LoadView& operator=(const LoadView&) = delete;

  std::uint64_t at_byte() const { return at_byte_; }
  // Until the load does as ordered. kTimeout when it does not within `deadline`.
  Result<void> order(const Clock& clock, std::uint32_t pages, Duration deadline);
  LoadReading read(const Clock& clock) const;

 private:
  LoadView(LoadPage* page, std::uint64_t at_byte) : page_{page}, at_byte_{at_byte} {}
  LoadPage* const page_;
  const std::uint64_t at_byte_;
};

}  // namespace understudy::bench
