// Heartbeats to messages and back. Nothing from the network is trusted: what does not decode whole and within range is refused.
#pragma once

#include "failover/node_io.h"
#include "net/codec.h"

namespace understudy {

inline constexpr MessageKind kHeartbeatKind = 32;

// The envelope's term is the sender's term, its epoch the committed epoch.
Message encode_heartbeat(PairId pair, const Heartbeat& heartbeat);

// kCorrupt names the field; texts are cut to 200 bytes, and bytes that could break a log line or a terminal are replaced.
// Paths this version does not know are left out. The message's kind must be kHeartbeatKind.
Result<Heartbeat> decode_heartbeat(const DecodedMessage& message);

}  // namespace understudy
