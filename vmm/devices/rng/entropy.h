// Where the guest's random bytes come from, and how many it may have.
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>

#include "net/base/clock.h"
#include "vmm/backend.h"

namespace understudy {

// Fills the front of `out` with random bytes and returns how many; 0: none at the moment. Never blocks.
using EntropySource = std::function<std::size_t(MutableBytes out)>;

// The host kernel's generator: getrandom(2). Has none only in the first moments after the host's boot.
std::size_t host_entropy(MutableBytes out);

struct EntropyLimits {
  std::size_t bytes_per_interval = std::size_t{64} << 10;  // at least 1
  Duration interval = std::chrono::milliseconds{250};
};

// So many bytes an interval; what an interval leaves over is gone with it. One thread.
class EntropyAllowance {
 public:
  explicit EntropyAllowance(EntropyLimits limits) : limits_{limits} {}

  // How many bytes may be had at `now`, 0 to limits.bytes_per_interval.
  std::size_t at(Instant now) {
    if (now >= refill_at_) {
      refill_at_ = now + limits_.interval;
      left_ = limits_.bytes_per_interval;
    }
    return left_;
  }
  void spend(std::size_t bytes) { left_ -= std::min(bytes, left_); }
  // When at() gives more again.
  Instant refill_at() const { return refill_at_; }

 private:
  const EntropyLimits limits_;
  std::size_t left_ = 0;
  Instant refill_at_ = Instant::min();
};

}  // namespace understudy
