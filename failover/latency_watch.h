// Fail-slow: a path that still works, but takes far longer than it used to at the same load. Pure: samples in, a judgement out.
//
// A path's history is kept by load, since a busy disk is slow without being sick. A window of the latest samples is compared with what was
// usual (the 99th percentile of the history at that load): only when most of the window lies far beyond it is the path slow. So a spike, or
// a burst of them, is none, whatever its height. While it is slow its samples do not become history.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "net/base/clock.h"

namespace understudy {

struct FailSlowLimits {
  Duration floor = std::chrono::milliseconds{40};  // nothing that is quicker is slow, whatever the history: a scheduler's delays stay below
  double factor = 4;                               // times what was usual
  Duration window = std::chrono::seconds{4};
  std::size_t least_samples = 4;                             // of the window, to judge at all
  double slow_share = 0.8;                                   // so much of the window is beyond: slow
  double well_share = 0.5;                                   // no more than so much: well again
  Duration suspect_after = std::chrono::milliseconds{2500};  // slow for so long: suspected, which the other node's evidence makes a failure
  std::size_t least_history = 50;                            // samples at a load, before it has anything usual
};

class LatencyWatch {
 public:
  static constexpr std::size_t kHistory = 512;  // samples a load
  static constexpr std::size_t kLoads = 12;     // by powers of two: 0, 1, 2 to 3, 4 to 7, ...

  explicit LatencyWatch(FailSlowLimits limits = {}) : limits_{limits} {}

  // `load`: whatever makes this path slower without its fault, in a unit of the caller's (requests a second). `now` never goes back.
  void add(Instant now, Duration latency, std::uint64_t load);

  bool slow() const { return slow_since_.has_value(); }
  bool suspected(Instant now) const { return slow_since_ && now - *slow_since_ >= limits_.suspect_after; }
  // The latest samples' median, and what is usual at their load (nullopt: not known yet).
  Duration median() const;
  std::optional<Duration> usual() const;
  // "takes 180 ms, where 2 ms was usual"
  std::string text() const;

 private:
  struct Sample {
    Instant at;
    Duration latency;
    std::size_t load;
    std::optional<Duration> usual;  // as of then
  };
  struct History {
    std::vector<Duration> samples;
    std::size_t next = 0;
  };
  static std::size_t load_index(std::uint64_t load);
  std::optional<Duration> usual_at(std::size_t load) const;
  bool beyond(const Sample& sample) const;

  const FailSlowLimits limits_;
  std::deque<Sample> window_;
  std::array<History, kLoads> histories_;
  std::optional<Instant> slow_since_;
};

}  // namespace understudy
