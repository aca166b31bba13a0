// Time as it is passed around: an Instant of the monotonic clock, injected so that tests own it.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace understudy {

using Duration = std::chrono::nanoseconds;

// CLOCK_MONOTONIC, in nanoseconds: comparable between processes of one host, meaningless between hosts.
struct MonotonicClockTag {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<MonotonicClockTag, Duration>;
  static constexpr bool is_steady = true;
};
using Instant = MonotonicClockTag::time_point;

class Clock {
 public:
  virtual ~Clock() = default;
  // Never goes back. Callable from any thread.
  virtual Instant now() const = 0;
};

class MonotonicClock final : public Clock {
 public:
  Instant now() const override;
};

// A clock that stands still until told: for tests and simulations. One thread.
class ManualClock final : public Clock {
 public:
  Instant now() const override { return now_; }
  void advance(Duration by) { now_ += by; }
  void set(Instant to) { now_ = to; }

 private:
  Instant now_{};
};

// Nanoseconds of the real-time clock since 1970, for logs and for the guest's wall clock; never for decisions.
std::int64_t realtime_ns();

constexpr std::int64_t to_ns(Instant instant) { return instant.time_since_epoch().count(); }
constexpr double to_ms(Duration duration) { return std::chrono::duration<double, std::milli>(duration).count(); }
// "34 ms", rounded: for a person.
std::string ms_text(Duration duration);

}  // namespace understudy
