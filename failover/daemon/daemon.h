// One node of a pair, assembled: every thread, link and file of `understudyd run`.
#pragma once

#include <memory>

#include "failover/daemon/config.h"
#include "net/base/clock.h"
#include "net/base/result.h"

namespace understudy {

class Daemon {
 public:
  // Opens everything the configuration names, so that what is missing is told at once, and starts the node.
  static Result<std::unique_ptr<Daemon>> start(DaemonConfig config, const Clock& clock);
  // Stops the node and the guest, in order. What waits in the gate is dropped.
  virtual ~Daemon() = default;
};

}  // namespace understudy
