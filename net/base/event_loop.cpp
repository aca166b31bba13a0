#include "net/base/event_loop.h"

#include <array>
#include <condition_variable>
#include <pthread.h>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include "net/base/check.h"

namespace understudy {

Result<std::unique_ptr<EventLoop>> EventLoop::create(const Clock& clock) {
  UniqueFd epoll{::epoll_create1(EPOLL_CLOEXEC)};
  if (!epoll) return Error::from_errno("epoll_create1");
  UniqueFd wake{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!wake) return Error::from_errno("eventfd");
  UniqueFd timer{::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
  if (!timer) return Error::from_errno("timerfd_create");
  for (const int fd : {wake.get(), timer.get()}) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event) < 0) return Error::from_errno("epoll_ctl");
  }
  return std::unique_ptr<EventLoop>{new EventLoop{clock, std::move(epoll), std::move(wake), std::move(timer)}};
}

EventLoop::EventLoop(const Clock& clock, UniqueFd epoll, UniqueFd wake, UniqueFd timer)
    : clock_{clock}, epoll_{std::move(epoll)}, wake_{std::move(wake)}, timer_{std::move(timer)} {
  last_tick_ns_ = to_ns(clock_.now());
}

EventLoop::~EventLoop() = default;

Result<void> EventLoop::watch(int fd, std::uint32_t epoll_events, std::function<void(std::uint32_t)> ready) {
  epoll_event event{.events = epoll_events, .data = {.fd = fd}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) < 0) return Error::from_errno("watch fd " + std::to_string(fd));
  watches_[fd] = std::make_shared<Watch>(std::move(ready));
  return {};
}

void EventLoop::unwatch(int fd) {
  if (watches_.erase(fd) > 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

EventLoop::TimerId EventLoop::call_at(Instant at, Callback expired) {
  const TimerId id = next_timer_++;
  timers_.emplace(std::pair{at, id}, std::move(expired));
  timer_times_.emplace(id, at);
  return id;
}

void EventLoop::cancel(TimerId id) {
  if (const auto found = timer_times_.find(id); found != timer_times_.end()) {
    timers_.erase({found->second, id});
    timer_times_.erase(found);
  }
}

void EventLoop::post(Callback message) {
  {
    const std::lock_guard lock{messages_mutex_};
    messages_.push_back(std::move(message));
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof one);
}

bool EventLoop::post_and_wait(Callback message, Duration deadline) {
  US_CHECK(!on_loop_thread());
  struct Rendezvous {
    std::mutex mutex;
    std::condition_variable done_changed;
    bool done = false;
  };
  const auto rendezvous = std::make_shared<Rendezvous>();
  post([rendezvous, message = std::move(message)] {
    message();
    const std::lock_guard lock{rendezvous->mutex};
    rendezvous->done = true;
    rendezvous->done_changed.notify_all();
  });
  std::unique_lock lock{rendezvous->mutex};
  return rendezvous->done_changed.wait_for(lock, deadline, [&] { return rendezvous->done; });
}

void EventLoop::run() {
  thread_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  while (!stopping_.load(std::memory_order_acquire)) turn(-1);
}

bool EventLoop::run_ready() {
  constexpr unsigned kMaxTurns = 10'000;
  thread_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  for (unsigned turns = 0; turns < kMaxTurns; ++turns)
    if (!turn(0)) return true;
  return false;
}

bool EventLoop::turn(int wait_ms) {
  std::array<epoll_event, 64> events;
  arm_timer();
  const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), wait_ms);
  US_CHECK(count >= 0 || errno == EINTR);
  last_tick_ns_.store(to_ns(clock_.now()), std::memory_order_relaxed);
  for (int i = 0; i < count; ++i) {
    const int fd = events[static_cast<std::size_t>(i)].data.fd;
    if (fd == wake_.get() || fd == timer_.get()) {
      std::uint64_t drained = 0;
      [[maybe_unused]] const auto read_bytes = ::read(fd, &drained, sizeof drained);
      continue;
    }
    // A callback may unwatch any fd, itself included: hold the watch, and look it up afresh each time.
    if (const auto found = watches_.find(fd); found != watches_.end()) {
      const auto watch = found->second;
      watch->ready(events[static_cast<std::size_t>(i)].events);
    }
  }
  run_messages();
  run_due_timers();
  return count != 0;
}

void EventLoop::stop() {
  stopping_.store(true, std::memory_order_release);
  post([] {});
}

void EventLoop::run_messages() {
  std::vector<Callback> batch;
  {
    const std::lock_guard lock{messages_mutex_};
    batch.swap(messages_);
  }
  for (auto& message : batch) message();
}

void EventLoop::run_due_timers() {
  const Instant now = clock_.now();
  // What a callback arms anew waits for the next turn, however soon it is due: file descriptors and messages must get theirs.
  const TimerId first_new = next_timer_;
  for (auto due = timers_.begin(); due != timers_.end() && due->first.first <= now;) {
    if (due->first.second >= first_new) {
      ++due;
      continue;
    }
    auto node = timers_.extract(due);
    timer_times_.erase(node.key().second);
    node.mapped()();
    due = timers_.begin();  // the callback may have cancelled any
  }
}

void EventLoop::arm_timer() {
  itimerspec spec{};
  if (!timers_.empty()) {
    // Relative, since an injected clock need not share CLOCK_MONOTONIC's zero; at least 1 ns, since 0 would disarm.
    const auto wait = std::max<Duration>(timers_.begin()->first.first - clock_.now(), Duration{1});
    spec.it_value.tv_sec = wait.count() / 1'000'000'000;
    spec.it_value.tv_nsec = wait.count() % 1'000'000'000;
  }
  ::timerfd_settime(timer_.get(), 0, &spec, nullptr);
}

Result<std::unique_ptr<LoopThread>> LoopThread::start(const Clock& clock, std::string name) {
  US_ASSIGN(auto loop, EventLoop::create(clock));
  std::unique_ptr<LoopThread> result{new LoopThread{std::move(loop)}};
  result->thread_ = std::thread{[loop = result->loop_.get()] { loop->run(); }};
  ::pthread_setname_np(result->thread_.native_handle(), name.substr(0, 15).c_str());
  return result;
}

LoopThread::~LoopThread() {
  loop_->stop();
  thread_.join();
}

}  // namespace understudy
