// The numbers of the latest epochs: each of them, and the pause's median and 99th percentile over all.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "failover/daemon/status.h"

namespace understudy {

// Not synchronised.
class EpochStats {
 public:
  static constexpr std::size_t kWindow = 1024;

  void add(const EpochLine& line) { lines_[added_++ % kWindow] = line; }

  Status::EpochNumbers summary() const {
    if (added_ == 0) return {};
    std::vector<std::uint64_t> sorted;
    for (std::size_t i = 0; i < count(); ++i) sorted.push_back(lines_[i].pause_us);
    std::ranges::sort(sorted);
    const EpochLine& last = lines_[(added_ - 1) % kWindow];
    return {.pause_us = last.pause_us,
            .dirty_pages = last.dirty_pages,
            .sent_bytes = last.sent_bytes,
            .ack_us = last.ack_us,
            .pause_median_us = sorted[sorted.size() / 2],
            .pause_p99_us = sorted[std::min(sorted.size() - 1, sorted.size() * 99 / 100)]};
  }

  // Those kept with this number or a higher one, oldest first.
  std::vector<EpochLine> lines(Epoch from) const {
    std::vector<EpochLine> lines;
    for (std::size_t i = added_ - count(); i < added_; ++i)
      if (lines_[i % kWindow].epoch >= from) lines.push_back(lines_[i % kWindow]);
    return lines;
  }

 private:
  std::size_t count() const { return std::min(added_, kWindow); }

  std::size_t added_ = 0;
  std::array<EpochLine, kWindow> lines_{};
};

}  // namespace understudy
