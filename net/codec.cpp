#include "net/codec.h"

#include <array>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

#include <capnp/message.h>
#include <xxhash.h>

#include "net/base/check.h"
#include "net/payload.h"
#include "net/wire.capnp.h"

namespace understudy {

namespace {
constexpr std::uint32_t kMagic = 0x59445355;
// Segment table, root pointer, the envelope's own fields.
constexpr std::size_t kEnvelopeBytes = (2 + capnp::sizeInWords<schema::Envelope>()) * kMessageWordBytes;

// The header's fields seed the payload's checksum, so that a flipped bit in a term is found like one in the payload.
std::uint64_t checksum_of(const Envelope& envelope, std::span<const std::byte> payload) {
  const std::array<std::uint64_t, 7> header{(std::uint64_t{envelope.kind} << 8) | static_cast<std::uint64_t>(envelope.sender),
                                            envelope.pair.raw(),
                                            envelope.incarnation.raw(),
                                            envelope.term.raw(),
                                            envelope.session.raw(),
                                            envelope.epoch.raw(),
                                            payload.size()};
  return XXH3_64bits_withSeed(payload.data(), payload.size(), XXH3_64bits(header.data(), sizeof header));
}

std::string hex(std::uint64_t value) {
  std::array<char, 19> text{};
  std::snprintf(text.data(), text.size(), "0x%llx", static_cast<unsigned long long>(value));
  return text.data();
}

Error corrupt(std::string text) { return Error{ErrorCode::kCorrupt, std::move(text)}; }

// Reads the envelope and checks all but the pair. The payload points into frame 0.
Result<std::span<const std::byte>> check_envelope(schema::Envelope::Reader wire, Envelope& out) {
  if (wire.getMagic() != kMagic) return corrupt("not an Understudy message: magic " + hex(wire.getMagic()));
  if (wire.getWireVersion() != kWireVersion)
    return Error{ErrorCode::kUnsupportedVersion, "the peer speaks wire version " + std::to_string(wire.getWireVersion()) + ", this node " +
                                                     std::to_string(kWireVersion) + ": install the same release on both"};
  if (wire.getKind() == 0) return corrupt("message of kind 0, which is none");
  if (wire.getSender() > 1) return corrupt("sender " + std::to_string(wire.getSender()) + ": a pair has the nodes 0 and 1");
  const auto data = wire.getPayload();
  if (data.size() > kMaxPayloadBytes)
    return corrupt("payload of " + std::to_string(data.size()) + " bytes; at most " + std::to_string(kMaxPayloadBytes));
  const std::span payload{reinterpret_cast<const std::byte*>(data.begin()), data.size()};
  out = Envelope{.kind = wire.getKind(),
                 .pair = PairId{wire.getPair()},
                 .sender = static_cast<NodeId>(wire.getSender()),
                 .incarnation = Incarnation{wire.getIncarnation()},
                 .term = Term{wire.getTerm()},
                 .session = Session{wire.getSession()},
                 .epoch = Epoch{wire.getEpoch()}};
  if (const auto computed = checksum_of(out, payload); computed != wire.getChecksum())
    return corrupt("checksum mismatch in a message of kind " + std::to_string(out.kind) + ": " + hex(computed) + " computed, " +
                   hex(wire.getChecksum()) + " received");
  return payload;
}

// The payload's reader needs it at a word's address; transports promise no alignment.
Frame aligned(const Frame& frame) {
  if (reinterpret_cast<std::uintptr_t>(frame.bytes().data()) % alignof(capnp::word) == 0) return frame;
  return Frame::copy_of(frame.bytes());  // heap memory: aligned for any scalar
}
}  // namespace

Message encode(const Envelope& envelope, std::span<const std::byte> payload, std::vector<Frame> bulk) {
  US_CHECK(envelope.kind != 0);
  US_CHECK(payload.size() <= kMaxPayloadBytes);
  // Built in place: the segment table's word, then one segment of exactly the right size. The payload is copied once.
  const std::size_t segment_words =
      1 + capnp::sizeInWords<schema::Envelope>() + (payload.size() + kMessageWordBytes - 1) / kMessageWordBytes;
  const auto words = std::make_shared<std::vector<capnp::word>>(1 + segment_words);
  capnp::FlatMessageBuilder builder{kj::arrayPtr(words->data() + 1, segment_words)};
  auto wire = builder.initRoot<schema::Envelope>();
  wire.setMagic(kMagic);
  wire.setWireVersion(kWireVersion);
  wire.setKind(envelope.kind);
  wire.setPair(envelope.pair.raw());
  wire.setSender(static_cast<std::uint8_t>(envelope.sender));
  wire.setIncarnation(envelope.incarnation.raw());
  wire.setTerm(envelope.term.raw());
  wire.setSession(envelope.session.raw());
  wire.setEpoch(envelope.epoch.raw());
  wire.setChecksum(checksum_of(envelope, payload));
  wire.setPayload(kj::arrayPtr(reinterpret_cast<const kj::byte*>(payload.data()), payload.size()));
  builder.requireFilled();

  const std::array<std::uint32_t, 2> table{0, static_cast<std::uint32_t>(segment_words)};  // one segment, its size
  static_assert(sizeof table == kMessageWordBytes && std::endian::native == std::endian::little);
  std::memcpy(static_cast<void*>(words->data()), table.data(), sizeof table);

  Message message;
  message.reserve(1 + bulk.size());
  message.emplace_back(std::as_bytes(std::span{*words}), words);
  for (auto& frame : bulk) message.push_back(std::move(frame));
  return message;
}

Result<DecodedMessage> decode_any_pair(const Message& message) {
  if (message.empty()) return corrupt("message without an envelope frame");
  if (const auto size = message.front().bytes().size(); size < kEnvelopeBytes || size > kEnvelopeBytes + kMaxPayloadBytes)
    return corrupt("envelope frame of " + std::to_string(size) + " bytes: it takes " + std::to_string(kEnvelopeBytes) + " to " +
                   std::to_string(kEnvelopeBytes + kMaxPayloadBytes));
  const Frame frame = aligned(message.front());
  DecodedMessage decoded;
  US_ASSIGN(const auto payload, read_payload<schema::Envelope>(
                                    frame.bytes(), [&](schema::Envelope::Reader wire) { return check_envelope(wire, decoded.envelope); }));
  decoded.payload = Frame{payload, frame.owner()};
  decoded.bulk.assign(message.begin() + 1, message.end());
  return decoded;
}

Result<DecodedMessage> decode(const Message& message, PairId expected_pair) {
  US_ASSIGN(auto decoded, decode_any_pair(message));
  if (decoded.envelope.pair != expected_pair)
    return Error{ErrorCode::kRefused, "message for pair " + std::to_string(decoded.envelope.pair.raw()) + "; this node belongs to pair " +
                                          std::to_string(expected_pair.raw()) + ": give both nodes the same pair id"};
  return decoded;
}

}  // namespace understudy
