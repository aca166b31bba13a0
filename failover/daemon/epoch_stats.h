// The numbers of the latest epochs: the last one whole, and the pause's median and 99th percentile over a window.
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

  void add(const Status::EpochNumbers& numbers) {
    last_ = numbers;
    pauses_us_[added_++ % kWindow] = numbers.pause_us;
  }

  Status::EpochNumbers summary() const {
    Status::EpochNumbers result = last_;
    const std::size_t count = std::min(added_, kWindow);
    if (count == 0) return result;
    std::vector<std::uint64_t> sorted(pauses_us_.begin(), pauses_us_.begin() + static_cast<std::ptrdiff_t>(count));
    std::ranges::sort(sorted);
    result.pause_median_us = sorted[count / 2];
    result.pause_p99_us = sorted[std::min(count - 1, count * 99 / 100)];
    return result;
  }

 private:
  Status::EpochNumbers last_;
  std::size_t added_ = 0;
  std::array<std::uint64_t, kWindow> pauses_us_{};
};

}  // namespace understudy
