// A frame that the guest sent, as the lab's wire tap saw it: when, from which host, and what it says. The parser is pure and trusts
// nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "net/base/addresses.h"
#include "net/base/clock.h"
#include "net/base/ids.h"
#include "tests/guest/kv_protocol.h"

namespace understudy::lab {

// RFC 9293, 3.1, as far as it tells whether a segment says something new.
struct TcpSegment {
  std::uint16_t guest_port = 0;
  std::uint16_t peer_port = 0;
  std::uint32_t sequence = 0;  // of the payload's first byte
  std::uint32_t acknowledged = 0;
  bool reset = false;
  bool acknowledges = false;
  std::vector<std::byte> payload;
};

struct GuestFrame {
  Instant at;
  NodeId host = NodeId::kA;
  std::optional<guest::KvReply> reply;  // nullopt: something else, such as ARP
  std::optional<TcpSegment> tcp;
};

// nullopt when `guest` did not send the frame. A datagram of the key-value service's port that holds a whole reply gives the reply; a TCP
// segment that is there whole gives the segment.
std::optional<GuestFrame> parse_guest_frame(std::span<const std::byte> ethernet, const MacAddress& guest, NodeId host, Instant at);

}  // namespace understudy::lab
