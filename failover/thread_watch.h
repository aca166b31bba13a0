// Whether this process's own threads get on: the guest's vCPUs, and the loops of the monitor around it. Readings in, judgements out; pure,
// but for read_threads().
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "failover/probe.h"

namespace understudy {

// One thread at one moment: proc(5), /proc/PID/task/TID/stat and schedstat.
struct ThreadReading {
  pid_t id = 0;
  std::string name;
  char state = '?';           // R: runs, or would if it got a CPU; S: sleeps; D: in the kernel, and can't be woken
  std::uint64_t run_ns = 0;   // time on a CPU so far
  std::uint64_t wait_ns = 0;  // time it waited for one
};

// nullopt: not of that form.
std::optional<ThreadReading> parse_thread(pid_t id, std::string_view stat, std::string_view schedstat);
// Those of this process whose name begins with one of `prefixes`. Reads /proc, which no disk is behind.
std::vector<ThreadReading> read_threads(const std::vector<std::string>& prefixes);

struct ThreadLimits {
  Duration starved_after = std::chrono::milliseconds{1000};  // ready to run, and no CPU for so long: degraded
  Duration stuck_after = std::chrono::milliseconds{2000};    // in the kernel all that time: suspected
};

// A halted vCPU sleeps, and a paused one as well: that is no lack of progress. One that is stuck in the kernel, or ready and never run, is.
class ThreadWatch {
 public:
  ThreadWatch(ProbePath path, ThreadLimits limits) : path_{path}, limits_{limits} {}
  // The worst, named. `idle`: what is said when there is no thread.
  ProbeReport look(const std::vector<ThreadReading>& threads, const std::string& idle, Instant now);

 private:
  struct Seen {
    std::uint64_t run_ns = 0;
    char state = '?';
    Instant since;  // it has not run, and its state is the same
  };
  const ProbePath path_;
  const ThreadLimits limits_;
  std::map<pid_t, Seen> seen_;
};

}  // namespace understudy
