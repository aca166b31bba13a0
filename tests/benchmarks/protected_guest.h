// A guest with the load in it, and what protects it: Understudy's pair, or QEMU's. bench_checkpoint measures both through this.
#pragma once

#include <optional>
#include <vector>

#include "net/base/result.h"
#include "tests/benchmarks/load_view.h"

namespace understudy::bench {

// Of the epochs in a window.
struct EpochFigures {
  std::vector<double> pauses_us;
  std::vector<double> acks_us;       // empty: the system has none of its own
  std::optional<double> link_bytes;  // from the primary to the secondary, where that can be told
};

// One thread. A call that fails names what failed, with the programs' last words.
class ProtectedGuest {
 public:
  virtual ~ProtectedGuest() = default;

  // The load of the guest where it runs.
  virtual LoadView& load() = 0;
  // The guest runs without protection until protect() is done. At first it is the one or the other.
  virtual Result<void> unprotect() = 0;
  virtual Result<void> protect() = 0;
  // The epochs between the two, while protected.
  virtual Result<void> begin_window() = 0;
  virtual Result<EpochFigures> end_window() = 0;
  // Kills the primary. From then until the guest's first instruction on the secondary, without the time until the loss is known. The last
  // thing that can be done with it.
  virtual Result<double> kill_to_run_ms() = 0;
};

}  // namespace understudy::bench
