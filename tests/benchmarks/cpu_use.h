// How busy this machine's cores were, and whose work it was: a window in which others worked is no measurement.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "net/base/clock.h"
#include "net/base/result.h"

namespace understudy::bench {

// In seconds of one core, since some time in the past.
struct CpuReading {
  Instant at;
  double all = 0;  // whatever the cores did, stolen time included; not waiting
  double own = 0;  // of the processes of this PID namespace, the ended among them
};
Result<CpuReading> read_cpu_use(const Clock& clock);

// /proc/stat's first line and a /proc/PID/stat (proc(5)); in clock ticks. kCorrupt: something else. Pure.
Result<double> all_ticks(std::string_view stat);
Result<double> process_ticks(std::string_view stat);

}  // namespace understudy::bench
