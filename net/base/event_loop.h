// One thread's loop: file descriptors, timers, and messages posted by other threads. Everything else here is loop-owned.
//
// Threading: every function is for the loop's own thread (or before run()), but for post() and stop(), which any thread may call.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "net/base/clock.h"
#include "net/base/result.h"
#include "net/base/unique_fd.h"

namespace understudy {

class EventLoop {
 public:
  using Callback = std::function<void()>;
  using TimerId = std::uint64_t;

  static Result<std::unique_ptr<EventLoop>> create(const Clock& clock);
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Calls `ready` with the epoll events (EPOLLIN, ...) whenever `fd` has one. Level-triggered unless EPOLLET is given.
  // The fd stays the caller's; unwatch it before closing it.
  Result<void> watch(int fd, std::uint32_t epoll_events, std::function<void(std::uint32_t)> ready);
  void unwatch(int fd);

  // Calls `expired` once, at or after `at`. A timer may be cancelled from within any callback.
  TimerId call_at(Instant at, Callback expired);
  void cancel(TimerId id);

  // Runs `message` on the loop's thread, in the order of posting. Any thread. Dropped if the loop has stopped.
  void post(Callback message);
  // Runs `message` on the loop's thread and waits for it; must not be called from that thread. False after `deadline`:
  // the message may still run later, so it must own what it touches.
  bool post_and_wait(Callback message, Duration deadline);

  void run();  // until stop()
  // Takes turns without waiting until nothing is ready any more: for a caller that is the loop's thread for a while, as a fuzz target is.
  // False after 10,000 turns, when there still was.
  bool run_ready();
  void stop();  // any thread; idempotent
  bool on_loop_thread() const { return std::this_thread::get_id() == thread_.load(std::memory_order_relaxed); }
  const Clock& clock() const { return clock_; }

  // Time of the loop's latest turn: evidence that the loop lives. Any thread.
  Instant last_tick() const { return Instant{Duration{last_tick_ns_.load(std::memory_order_relaxed)}}; }

 private:
  struct Watch {
    std::function<void(std::uint32_t)> ready;
  };
  EventLoop(const Clock& clock, UniqueFd epoll, UniqueFd wake, UniqueFd timer);
  // One turn: waits for the first thing to do, or up to `wait_ms` (-1: for ever). False when there was nothing.
  bool turn(int wait_ms);
  void run_due_timers();
  void run_messages();
  void arm_timer();

  const Clock& clock_;
  const UniqueFd epoll_;
  const UniqueFd wake_;
  const UniqueFd timer_;
  std::atomic<std::thread::id> thread_;  // asked by other threads, too, also while run() begins
  std::atomic<bool> stopping_{false};
  std::atomic<std::int64_t> last_tick_ns_{0};
  std::unordered_map<int, std::shared_ptr<Watch>> watches_;
  std::map<std::pair<Instant, TimerId>, Callback> timers_;
  std::unordered_map<TimerId, Instant> timer_times_;
  TimerId next_timer_ = 1;
  std::mutex messages_mutex_;
  std::vector<Callback> messages_;  // guarded by messages_mutex_
};

// A loop with a thread of its own, named for debuggers and top (15 characters at most). Stops and joins when destroyed.
class LoopThread {
 public:
  static Result<std::unique_ptr<LoopThread>> start(const Clock& clock, std::string name);
  ~LoopThread();
  EventLoop& loop() { return *loop_; }

 private:
  explicit LoopThread(std::unique_ptr<EventLoop> loop) : loop_{std::move(loop)} {}
  std::unique_ptr<EventLoop> loop_;
  std::thread thread_;
};

}  // namespace understudy
