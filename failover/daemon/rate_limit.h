// How often one event may be logged: a burst, then a steady rate; what was held back is counted and told with the next line let through.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "net/base/clock.h"

namespace understudy {

class RateLimit {
 public:
  // `burst` lines at once, then one every `interval`, for each event name.
  RateLimit(std::uint32_t burst, Duration interval) : burst_{burst}, interval_{interval} {}

  // The number of lines held back since the last one let through, or nullopt: hold this one back. Not synchronised.
  std::optional<std::uint64_t> admit(std::string_view event, Instant now);

 private:
  struct Bucket {
    double tokens;
    Instant filled;
    std::uint64_t held_back = 0;
  };
  // Event names are literals of ours; a name beyond this many shares one bucket, so memory stays bounded whatever happens.
  static constexpr std::size_t kMaxBuckets = 512;

  const std::uint32_t burst_;
  const Duration interval_;
  std::map<std::string, Bucket, std::less<>> buckets_;
};

}  // namespace understudy
