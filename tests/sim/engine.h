// Virtual time: an event queue and a random number generator. One seed replays a run exactly.
#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <vector>

#include "net/base/clock.h"

namespace understudy::sim {

constexpr Duration ms(double milliseconds) { return Duration{static_cast<std::int64_t>(milliseconds * 1e6)}; }

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_{seed} {
    // Neighbouring seeds must not give the same stream, shifted.
    state_ = next() ^ (seed << 32);
    state_ = next();
  }
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  double unit() { return static_cast<double>(next() >> 11) / 9007199254740992.0; }
  bool chance(double probability) { return unit() < probability; }
  std::uint64_t below(std::uint64_t bound) { return next() % bound; }
  Duration between(Duration low, Duration high) {
    return low + Duration{static_cast<std::int64_t>(unit() * static_cast<double>((high - low).count()))};
  }

 private:
  std::uint64_t state_;
};

class Engine {
 public:
  explicit Engine(std::uint64_t seed) : random{seed} {}

  Instant now() const { return now_; }
  void after(Duration delay, std::function<void()> event) { events_.push({now_ + delay, ++order_, std::move(event)}); }
  // Runs what is due until `end`, or until `stop` says so.
  void run_until(Instant end, const std::function<bool()>& stop) {
    while (!events_.empty() && events_.top().at <= end && !stop()) {
      now_ = events_.top().at;
      auto event = std::move(const_cast<Event&>(events_.top()).run);  // NOLINT: popped in the next line
      events_.pop();
      event();
    }
    if (!stop()) now_ = end;
  }

  Random random;

 private:
  struct Event {
    Instant at;
    std::uint64_t order;  // ties: first in, first out
    std::function<void()> run;
    bool operator<(const Event& other) const { return at != other.at ? at > other.at : order > other.order; }
  };
  Instant now_{};
  std::uint64_t order_ = 0;
  std::priority_queue<Event> events_;
};

}  // namespace understudy::sim
