// The only place that reads or writes envelopes. Frame 0 of a message is an envelope (net/wire.capnp) around an opaque payload;
// further frames are bulk data, whose checksum belongs to the payload's schema.
//
// Nothing from the network is trusted: decode() checks magic, version, pair, sizes and the checksum (over header and payload)
// before anyone reads it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "net/base/ids.h"
#include "net/base/result.h"
#include "net/link.h"

namespace understudy {

inline constexpr std::uint16_t kWireVersion = 1;
inline constexpr std::size_t kMaxPayloadBytes = std::size_t{16} << 20;

// Each layer owns a range: replication 1-31, failover 32-63, arbiter 64-95. Zero is invalid.
using MessageKind = std::uint16_t;

struct Envelope {
  MessageKind kind = 0;
  PairId pair{};
  NodeId sender = NodeId::kA;
  Incarnation incarnation{};  // the sender's
  Term term{};                // the term in which the sender speaks
  Session session{};          // 0 outside a replication session
  Epoch epoch{};              // 0 where none is meant
};

struct DecodedMessage {
  Envelope envelope;
  Frame payload;  // word-aligned; a Cap'n Proto message of the kind's schema
  std::vector<Frame> bulk;
};

// `payload` (at most kMaxPayloadBytes) is copied into frame 0; bulk frames are passed on as they are. Any thread.
Message encode(const Envelope& envelope, std::span<const std::byte> payload, std::vector<Frame> bulk = {});

// kUnsupportedVersion names both versions; kRefused names both pairs; kCorrupt names what is wrong. Never throws.
Result<DecodedMessage> decode(const Message& message, PairId expected_pair);
// The same for a receiver that serves many pairs and looks at envelope.pair itself.
Result<DecodedMessage> decode_any_pair(const Message& message);

}  // namespace understudy
