// A probe in a process of its own, watched over a pipe: a probe stuck in the kernel is a failure, not a wait.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "failover/probe.h"
#include "net/base/event_loop.h"
#include "net/base/result.h"

namespace understudy {

struct ProbeProcessConfig {
  ProbePath path = ProbePath::kServiceNic;                   // what its reports are of, and its silence
  bool other_paths = false;                                  // it may report of others as well
  std::vector<std::string> command;                          // program and arguments; writes probe records (probe_wire.h) to its output
  Duration deadline = std::chrono::milliseconds{600};        // without a report for so long:
  Health silence = Health::kFailed;                          // this is said of the path
  Duration restart_after = std::chrono::milliseconds{1000};  // a process that ended is started again
};

// Loop-owned.
class ProbeProcess {
 public:
  using Report = std::function<void(ProbeReport)>;
  // Starts the process. A later report, of whatever health, always comes: from the process, or of its silence.
  static Result<std::unique_ptr<ProbeProcess>> start(EventLoop& loop, ProbeProcessConfig config, Report report);
  // Kills it. One that is stuck in the kernel is left behind and ends when the kernel lets it.
  virtual ~ProbeProcess() = default;
};

}  // namespace understudy
