#include "replication/epoch_pacer.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "net/base/check.h"

namespace understudy {

namespace {

constexpr double kRise = 0.5;
constexpr double kFall = 0.1;

}  // namespace

const char* name_of(EpochPacer::Bound bound) {
  switch (bound) {
    case EpochPacer::Bound::kNone:
      return "nothing";
    case EpochPacer::Bound::kLoss:
      return "the guest's loss of time";
    case EpochPacer::Bound::kLink:
      return "the use of the link";
    case EpochPacer::Bound::kLongest:
      return "the longest epoch";
    case EpochPacer::Bound::kBudget:
      return "the budget";
  }
  return "?";
}

EpochPacer::EpochPacer(PacingConfig config) : config_{config} {
  US_CHECK(config_.longest > Duration{0} && config_.max_loss > 0 && config_.max_loss < 1);
}

void EpochPacer::Estimate::add(double sample) {
  value = known ? value + (sample - value) * (sample > value ? kRise : kFall) : sample;
  known = true;
}

void EpochPacer::began(Instant now) {
  began_ = now;
  output_since_.reset();
}

void EpochPacer::output_waits(Instant now) {
  if (!output_since_) output_since_ = now;
}

EpochPacer::Shortest EpochPacer::shortest() const {
  // Of an epoch of length L and cost c, the guest loses c / (L + c).
  const auto loss = Duration{static_cast<Duration::rep>(guest_ns_.value * (1 - config_.max_loss) / config_.max_loss)};
  const auto link =
      config_.max_link_bytes_per_second == 0
          ? Duration{0}
          : Duration{static_cast<Duration::rep>(link_bytes_.value * 1e9 / static_cast<double>(config_.max_link_bytes_per_second))};
  Shortest shortest{std::max(loss, link), loss >= link ? Bound::kLoss : Bound::kLink};
  if (shortest.length <= config_.shortest) return {config_.shortest, Bound::kNone};
  if (config_.budget && config_.budget_first) {
    const auto left = std::max(Duration{0}, *config_.budget - Duration{static_cast<Duration::rep>(pause_ns_.value + ack_ns_.value)});
    if (shortest.length > left) shortest = {left, Bound::kBudget};
  }
  if (shortest.length > config_.longest) shortest = {config_.longest, Bound::kLongest};
  return shortest;
}

Instant EpochPacer::end_at() const {
  const Instant at_last = began_ + config_.longest;
  return output_since_ ? std::min(at_last, std::max(*output_since_, began_ + shortest().length)) : at_last;
}

void EpochPacer::paid(const EpochPrice& price) {
  guest_ns_.add(static_cast<double>((price.pause + price.faults).count()));
  pause_ns_.add(static_cast<double>(price.pause.count()));
  link_bytes_.add(static_cast<double>(price.link_bytes));
}

void EpochPacer::released(const OutputDelay& delay) {
  ack_ns_.add(static_cast<double>(delay.ack.count()));
  delays_[delays_added_++ % kWindow] = delay;
}

EpochPacer::Report EpochPacer::report() const {
  const Shortest now = shortest();
  Report report{.shortest = now.length, .bound = now.bound, .late_p50 = {}, .late_p99 = {}, .broken = {}};
  std::vector<OutputDelay> sorted(delays_.begin(), delays_.begin() + static_cast<std::ptrdiff_t>(std::min(delays_added_, kWindow)));
  if (sorted.empty()) return report;
  std::ranges::sort(sorted, {}, &OutputDelay::whole);
  const OutputDelay& late = sorted[std::min(sorted.size() - 1, sorted.size() * 99 / 100)];
  report.late_p50 = sorted[sorted.size() / 2].whole();
  report.late_p99 = late.whole();
  if (!config_.budget || late.whole() <= *config_.budget) return report;
  const Duration most = std::max({late.waited, late.pause, late.ack});
  const std::string why = most == late.pause ? "the pause"
                          : most == late.ack ? "the peer's acknowledgement"
                                             : fmt::format("the wait for the epoch's end, bounded by {}", name_of(now.bound));
  report.broken = fmt::format("output is {:.1f} ms late at the 99th percentile, over the budget of {:.1f} ms; most of it, {:.1f} ms, is {}",
                              to_ms(late.whole()), to_ms(*config_.budget), to_ms(most), why);
  return report;
}

}  // namespace understudy
