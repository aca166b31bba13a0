#include "failover/host_watch.h"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <string>

namespace understudy {

namespace {

std::string with_one_decimal(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

}  // namespace

std::optional<double> full_pressure(std::string_view text) {
  constexpr std::string_view kBefore = "full avg10=";
  const std::size_t at = text.find(kBefore);
  if (at == std::string_view::npos || (at != 0 && text[at - 1] != '\n')) return std::nullopt;
  const char* const begin = text.data() + at + kBefore.size();
  double percent = 0;
  const auto [end, error] = std::from_chars(begin, text.data() + text.size(), percent);
  if (error != std::errc{} || !std::isfinite(percent) || percent < 0 || percent > 100) return std::nullopt;
  return percent;
}

ProbeReport judge_memory(std::optional<double> pressure, double limit_percent) {
  ProbeReport report{.path = ProbePath::kMemory, .health = Health::kHealthy};
  if (!pressure) {
    report.text = "this host does not tell its memory's pressure";
    return report;
  }
  if (*pressure >= limit_percent) report.health = Health::kDegraded;
  report.text = "for " + with_one_decimal(*pressure) + " % of the last 10 s all tasks waited for memory";
  return report;
}

ProbeReport ClockWatch::look(Instant now, std::int64_t realtime_ns) {
  const std::int64_t offset = realtime_ns - to_ns(now);
  if (offset_ns_ && std::abs(offset - *offset_ns_) > kJump.count()) {
    jump_ns_ = offset - *offset_ns_;
    jumped_at_ = now;
  }
  offset_ns_ = offset;
  ProbeReport report{.path = ProbePath::kClock, .health = Health::kHealthy, .text = "goes evenly"};
  if (jumped_at_ && now - *jumped_at_ < kTold) {
    report.health = Health::kDegraded;
    report.text = std::string{"was set "} + (jump_ns_ < 0 ? "back" : "forward") + " by " +
                  with_one_decimal(std::abs(static_cast<double>(jump_ns_)) / 1e9) + " s";
  }
  return report;
}

}  // namespace understudy
