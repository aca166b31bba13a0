#include "failover/latency_watch.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace understudy {

std::size_t LatencyWatch::load_index(std::uint64_t load) { return std::min<std::size_t>(std::bit_width(load), kLoads - 1); }

// Where a load has no history of its own, a higher one's will do: it promises no less.
std::optional<Duration> LatencyWatch::usual_at(std::size_t load) const {
  for (std::size_t l = load; l < kLoads; ++l) {
    std::vector<Duration> sorted = histories_[l].samples;
    if (sorted.size() < limits_.least_history) continue;
    const auto p99 = sorted.begin() + static_cast<std::ptrdiff_t>((sorted.size() - 1) * 99 / 100);
    std::ranges::nth_element(sorted, p99);
    return *p99;
  }
  return std::nullopt;
}

bool LatencyWatch::beyond(const Sample& sample) const {
  if (!sample.usual || sample.latency <= limits_.floor) return false;
  return static_cast<double>(sample.latency.count()) > limits_.factor * static_cast<double>(sample.usual->count());
}

void LatencyWatch::add(Instant now, Duration latency, std::uint64_t load) {
  const std::size_t index = load_index(load);
  window_.push_back({now, latency, index, usual_at(index)});
  while (now - window_.front().at > limits_.window) {
    const Sample& old = window_.front();
    // What was beyond did not become usual by lasting, unless there was nothing to compare it with.
    if (!slow_since_ && !beyond(old)) {
      History& history = histories_[old.load];
      if (history.samples.size() < kHistory)
        history.samples.push_back(old.latency);
      else
        history.samples[history.next++ % kHistory] = old.latency;
    }
    window_.pop_front();
  }
  const auto slow = static_cast<double>(std::ranges::count_if(window_, [this](const Sample& sample) { return beyond(sample); }));
  const auto all = static_cast<double>(window_.size());
  if (slow_since_ && slow <= limits_.well_share * all) slow_since_.reset();
  if (!slow_since_ && window_.size() >= limits_.least_samples && slow >= limits_.slow_share * all) slow_since_ = now;
}

Duration LatencyWatch::median() const {
  if (window_.empty()) return {};
  std::vector<Duration> sorted;
  for (const Sample& sample : window_) sorted.push_back(sample.latency);
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::ranges::nth_element(sorted, middle);
  return *middle;
}

std::optional<Duration> LatencyWatch::usual() const { return window_.empty() ? std::nullopt : window_.back().usual; }

std::string LatencyWatch::text() const {
  const auto in_ms = [](Duration duration) { return std::to_string(std::llround(std::ceil(to_ms(duration)))) + " ms"; };
  const auto known = usual();
  return "takes " + in_ms(median()) + (known ? ", where at most " + in_ms(*known) + " was usual at this load" : "");
}

}  // namespace understudy
