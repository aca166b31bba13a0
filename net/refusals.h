// What was kept out of one or several sockets, since the start.
#pragma once

#include <cstdint>
#include <string>

#include "net/base/clock.h"

namespace understudy {

struct Refusals {
  std::uint64_t count = 0;
  std::string last;  // "10.77.1.9: its key rq:rM>... is not pinned"; empty: none
  Instant last_at{};

  void add(const Refusals& other) {
    count += other.count;
    if (other.last.empty() || other.last_at < last_at) return;
    last = other.last;
    last_at = other.last_at;
  }
};

}  // namespace understudy
