// A frame that the guest sent, as the lab's wire tap saw it: when, from which host, and what it says. The parser is pure and trusts
// nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "net/base/addresses.h"
#include "net/base/clock.h"
#include "net/base/ids.h"
#include "tests/guest/kv_protocol.h"

namespace understudy::lab {

struct GuestFrame {
  Instant at;
  NodeId host = NodeId::kA;
  std::optional<guest::KvReply> reply;  // nullopt: something else, such as ARP
};

// nullopt when `guest` did not send the frame. A datagram of the key-value service's port that holds a whole reply gives the reply.
std::optional<GuestFrame> parse_guest_frame(std::span<const std::byte> ethernet, const MacAddress& guest, NodeId host, Instant at);

}  // namespace understudy::lab
