#include "failover/daemon/rate_limit.h"

#include <algorithm>
#include <utility>

namespace understudy {

std::optional<std::uint64_t> RateLimit::admit(std::string_view event, Instant now) {
  auto found = buckets_.find(event);
  if (found == buckets_.end()) {
    const std::string name{buckets_.size() < kMaxBuckets ? event : std::string_view{}};
    found = buckets_.try_emplace(name, Bucket{.tokens = static_cast<double>(burst_), .filled = now}).first;
  }
  Bucket& bucket = found->second;
  const double refill = std::chrono::duration<double>(now - bucket.filled) / std::chrono::duration<double>(interval_);
  bucket.tokens = std::min(static_cast<double>(burst_), bucket.tokens + refill);
  bucket.filled = now;
  if (bucket.tokens < 1) {
    ++bucket.held_back;
    return std::nullopt;
  }
  bucket.tokens -= 1;
  return std::exchange(bucket.held_back, 0);
}

}  // namespace understudy
