// The probes of this host, as configured: which paths there are, and their reports.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "failover/daemon/config.h"
#include "failover/probe.h"
#include "net/base/event_loop.h"
#include "net/base/result.h"

namespace understudy {

class Probes {
 public:
  // Starts what must start before the daemon's threads do.
  static Result<std::unique_ptr<Probes>> prepare(const DaemonConfig& config);
  virtual ~Probes() = default;

  virtual std::vector<ProbePath> paths() const = 0;
  // Exercises every path from now on; reports come on `loop`, where this object is destroyed, too.
  virtual Result<void> run(EventLoop& loop, std::function<void(ProbeReport)> report) = 0;
};

}  // namespace understudy
