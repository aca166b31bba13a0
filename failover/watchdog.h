// What resets this host, or restarts this daemon, when it is no longer told that all is well: a watchdog device, and systemd.
//
// Threading: none; one owner. Each call is one system call that does not wait.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "net/base/clock.h"
#include "net/base/result.h"

namespace understudy {

class Watchdog {
 public:
  virtual ~Watchdog() = default;
  // It strikes when this does not come for longer than period().
  virtual void pet() = 0;
  // From now on it strikes no more: an orderly end.
  virtual void disarm() = 0;
  virtual Duration period() const = 0;
};

// /dev/watchdog (Linux: Documentation/watchdog/watchdog-api.rst), armed by opening it. A device that knows another timeout than the one
// asked for tells it. What is no watchdog device (a FIFO, a file) is written to all the same: for tests. `timeout` in whole seconds.
// The device stays armed when the process ends without disarm(), which is the point.
Result<std::unique_ptr<Watchdog>> open_watchdog(const std::filesystem::path& device, std::chrono::seconds timeout);

// systemd's (sd_notify(3), sd_watchdog_enabled(3)): datagrams of "KEY=value" lines to the socket that the environment names. Nothing where
// there is none.
class ServiceManager final : public Watchdog {
 public:
  // From NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. nullptr: no service manager wants to know.
  static std::unique_ptr<ServiceManager> of_environment();
  explicit ServiceManager(std::string socket, std::optional<Duration> period) : socket_{std::move(socket)}, period_{period} {}

  void ready() { notify("READY=1"); }
  void status(const std::string& line) { notify("STATUS=" + line); }
  void pet() override {
    if (period_) notify("WATCHDOG=1");
  }
  void disarm() override { notify("STOPPING=1"); }
  Duration period() const override { return period_.value_or(std::chrono::hours{1}); }

 private:
  void notify(const std::string& text) const;

  const std::string socket_;
  const std::optional<Duration> period_;
};

// Why the watchdog is not to be told that all is well; empty: it is. The node's loop is the one that asks. `since_session_loop`: since the
// session's loop last answered; `unfit`: what the node says of itself (NodeStatus). Pure.
std::string reason_not_to_pet(Duration since_session_loop, const std::string& unfit, Duration limit);

}  // namespace understudy
