// The witness's messages and stored records as bytes, and checked back: the one place that reads failover/witness.capnp. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "failover/witness_core.h"
#include "net/codec.h"

namespace understudy {

inline constexpr MessageKind kWitnessRequestKind = 64;
inline constexpr MessageKind kWitnessAnswerKind = 65;

struct WitnessRead {
  friend bool operator==(const WitnessRead&, const WitnessRead&) = default;
};
struct WitnessSeed {
  Term term;
  NodeIncarnation holder;
  friend bool operator==(const WitnessSeed&, const WitnessSeed&) = default;
};
struct WitnessRequest {
  std::uint64_t call = 0;
  std::variant<WitnessRead, Proposal, WitnessSeed> what;
};
struct WitnessReply {
  std::uint64_t call = 0;
  Result<ArbiterAnswer> answer;  // an error: the witness could not answer, in its own words
};

// Payloads of the two kinds of message. Decoding: kCorrupt names what cannot be.
std::vector<std::byte> encode_witness_request(const WitnessRequest& request);
Result<WitnessRequest> decode_witness_request(std::span<const std::byte> payload);
std::vector<std::byte> encode_witness_reply(const WitnessReply& reply);
Result<WitnessReply> decode_witness_reply(std::span<const std::byte> payload);

// Payloads of stored records.
std::vector<std::byte> encode_witness_identity(const WitnessIdentity& identity);
Result<WitnessIdentity> decode_witness_identity(std::span<const std::byte> payload);
std::vector<std::byte> encode_witness_pair(const WitnessPair& pair);
Result<WitnessPair> decode_witness_pair(std::span<const std::byte> payload);

}  // namespace understudy
