// What the guest said over TCP, put together from the frames on the wire: tells a segment that repeats from one that says something new.
//
// Pure. A successor goes on from a state in which everything that ever left the old host had been sent. So what the client had not received
// is sent again by the successor under the same sequence numbers, and what it had received is never contradicted.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "tests/lab/guest_frame.h"

namespace understudy::lab {

class TcpStreams {
 public:
  // `frames` in any order, kept by reference. Those of the first host count until another one speaks.
  explicit TcpStreams(std::span<const GuestFrame> frames);

  // The segment says nothing new on its connection: each of its bytes is among those that count, and it acknowledges no more than they do.
  // A reset is always news.
  bool repeats(const TcpSegment& segment) const;

 private:
  using Connection = std::pair<std::uint16_t, std::uint16_t>;  // the guest's port, the peer's
  std::map<Connection, std::vector<const TcpSegment*>> said_;
};

}  // namespace understudy::lab
