// What the host as a whole tells: pressure on its memory, and jumps of its real-time clock. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "failover/probe.h"

namespace understudy {

// Of /proc/pressure/memory (Documentation/accounting/psi.rst): for how much of the last ten seconds all tasks waited for memory at once, in
// percent. nullopt: the text is another.
std::optional<double> full_pressure(std::string_view text);

// `pressure`: nullopt where this kernel does not tell. Degraded from `limit_percent` on: a host that is short of memory runs the guest
// slowly, and soon may not at all.
ProbeReport judge_memory(std::optional<double> pressure, double limit_percent);

// Sees the real-time clock leave the monotonic one. Nothing here is decided by the real-time clock, so a jump is never more than degraded:
// the log's times and the guest's clock after a restart depend on it.
class ClockWatch {
 public:
  static constexpr Duration kJump = std::chrono::milliseconds{100};  // more between two looks is no slewing
  static constexpr Duration kTold = std::chrono::minutes{1};         // so long

  // Both clocks at one moment.
  ProbeReport look(Instant now, std::int64_t realtime_ns);

 private:
  std::optional<std::int64_t> offset_ns_;
  std::optional<Instant> jumped_at_;
  std::int64_t jump_ns_ = 0;
};

}  // namespace understudy
