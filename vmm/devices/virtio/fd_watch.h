// A file descriptor that a device watches now and then: armed and disarmed as often as needed, disarmed when destroyed.
//
// Threading: the device loop's, construction and an unarmed watch's destruction aside.
#pragma once

#include <functional>
#include <utility>

#include <sys/epoll.h>

#include "net/base/event_loop.h"
#include "net/base/log.h"

namespace understudy {

class FdWatch {
 public:
  // `ready` is called while `fd` is readable (level-triggered) and the watch armed.
  FdWatch(EventLoop& loop, int fd, std::function<void()> ready) : loop_{&loop}, fd_{fd}, ready_{std::move(ready)} {}
  ~FdWatch() { disarm(); }
  FdWatch(const FdWatch&) = delete;
  FdWatch& operator=(const FdWatch&) = delete;

  int fd() const { return fd_; }
  void arm() {
    if (armed_) return;
    const auto watched = loop_->watch(fd_, EPOLLIN, [this](std::uint32_t) { ready_(); });
    if (!watched) log(Severity::kError, "device cannot watch its backend", {{"error", watched.error().text()}});
    armed_ = watched.has_value();
  }
  void disarm() {
    if (std::exchange(armed_, false)) loop_->unwatch(fd_);
  }

 private:
  EventLoop* const loop_;
  const int fd_;
  const std::function<void()> ready_;
  bool armed_ = false;
};

}  // namespace understudy
