#include "failover/daemon/wall_time.h"

#include <chrono>
#include <ctime>
#include <utility>

#include <fmt/chrono.h>
#include <fmt/format.h>

namespace understudy {

namespace {

std::chrono::sys_time<std::chrono::nanoseconds> time_of(std::int64_t realtime_ns) {
  return std::chrono::sys_time<std::chrono::nanoseconds>{std::chrono::nanoseconds{realtime_ns}};
}

// Whole seconds since 1970, and what is left in nanoseconds, which is never negative.
std::pair<std::time_t, std::int64_t> split(std::int64_t realtime_ns) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time_of(realtime_ns));
  return {std::chrono::system_clock::to_time_t(seconds), (time_of(realtime_ns) - seconds).count()};
}

}  // namespace

std::string utc(std::int64_t realtime_ns) {
  const auto [seconds, rest] = split(realtime_ns);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z", parts, rest / 1000);
}

std::string local(std::int64_t realtime_ns) {
  const auto [seconds, rest] = split(realtime_ns);
  std::tm parts{};
  ::localtime_r(&seconds, &parts);
  return fmt::format("{:%Y-%m-%d %H:%M:%S}.{:03}", parts, rest / 1'000'000);
}

}  // namespace understudy
