#include "net/base/clock.h"

#include <cmath>
#include <ctime>

namespace understudy {

namespace {
std::int64_t read_ns(clockid_t id) {
  timespec time{};
  ::clock_gettime(id, &time);
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}
}  // namespace

Instant MonotonicClock::now() const { return Instant{Duration{read_ns(CLOCK_MONOTONIC)}}; }

std::int64_t realtime_ns() { return read_ns(CLOCK_REALTIME); }

std::string ms_text(Duration duration) { return std::to_string(std::llround(to_ms(duration))) + " ms"; }

}  // namespace understudy
