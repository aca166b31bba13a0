// Tells the watchdogs (the device of [watchdog], and systemd) that all is well, as long as it is.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "failover/daemon/config.h"
#include "failover/daemon/guest_host.h"
#include "failover/watchdog.h"
#include "net/base/event_loop.h"

namespace understudy {

// Of the node's loop, whose turning is the first thing that the petting proves; the session's is asked to answer, and `unfit` says what
// the node says of itself. When one of them fails the petting ends, and the log says why; when all are well again it goes on, if nothing
// has struck yet.
class WatchdogKeeper {
 public:
  // Arms the device. Errors: it can't be opened.
  static Result<std::unique_ptr<WatchdogKeeper>> start(EventLoop& loop, const std::optional<DaemonConfig::WatchdogDevice>& device,
                                                       GuestHost& guest, std::function<std::string()> unfit);
  WatchdogKeeper(EventLoop& loop, std::vector<std::unique_ptr<Watchdog>> watchdogs, GuestHost& guest, std::function<std::string()> unfit);
  // An orderly end: disarms them.
  ~WatchdogKeeper();

 private:
  void tick();

  EventLoop& loop_;
  const std::vector<std::unique_ptr<Watchdog>> watchdogs_;
  GuestHost& guest_;
  const std::function<std::string()> unfit_;
  Duration period_;
  Instant turned_at_;
  bool turning_ = false;
  std::string trouble_;
  EventLoop::TimerId timer_ = 0;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace understudy
