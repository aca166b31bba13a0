// What a node's links kept out and dropped, for the status.
#pragma once

#include <cstdint>

#include "net/refusals.h"
#include "net/zmq_link.h"

namespace understudy {

struct LinkNumbers {
  Refusals refusals{};          // connections
  std::uint64_t strangers = 0;  // messages in another name than the peer's
  std::uint64_t oversized = 0;  // messages of too many or too large frames
  std::uint64_t malformed = 0;  // messages that no decoder took
  std::uint64_t stale = 0;      // messages of an older term, session or incarnation, and repeated heartbeats

  void add(const ZmqLink& link) {
    refusals.add(link.refusals());
    strangers += link.counters().strangers;
    oversized += link.counters().oversized;
  }
  void add(const LinkNumbers& other) {
    refusals.add(other.refusals);
    strangers += other.strangers;
    oversized += other.oversized;
    malformed += other.malformed;
    stale += other.stale;
  }
};

}  // namespace understudy
