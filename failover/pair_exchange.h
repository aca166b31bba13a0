// How two hosts learn each other's public keys over a network that nobody vouches for: commit, then reveal, then two persons compare a
// code.
//
//   connecting                                   listening
//       | -- commit: H(its key, its nonce) ----->  |
//       | <- reveal: its key, its nonce ---------  |
//       | -- reveal: its key, its nonce -------->  |  does it match what was committed?
//   code of both keys and nonces          code of both keys and nonces
//
// Whoever stands between must fix the keys that it shows before it sees the nonces that the codes are made of: it has one guess of 100
// million (26 bits) for each time that two persons compare. Pure; any thread. The messages have fixed lengths, since they are read from
// anybody.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "net/base/result.h"
#include "net/curve_key.h"

namespace understudy {

using PairNonce = std::array<std::uint8_t, 32>;
using PairHash = std::array<std::uint8_t, 32>;

struct PairCommit {
  PairHash hash{};
  friend bool operator==(const PairCommit&, const PairCommit&) = default;
};
struct PairReveal {
  CurvePublicKey key;
  PairNonce nonce{};
  friend bool operator==(const PairReveal&, const PairReveal&) = default;
};
using PairMessage = std::variant<PairCommit, PairReveal>;

inline constexpr std::size_t kMaxPairMessageBytes = 72;
std::vector<std::byte> encode_pair_message(const PairMessage& message);
// kCorrupt for anything that encode_pair_message() does not make.
Result<PairMessage> decode_pair_message(std::span<const std::byte> bytes);
// What a commit holds of the reveal that is to follow.
PairCommit commitment_to(const PairReveal& reveal);

// One end. After an error it is of no use any more: a second try would be a second guess.
class PairExchange {
 public:
  enum class Side : std::uint8_t { kListens, kConnects };
  // `nonce` from random_nonce(), and never used before.
  PairExchange(Side side, const CurvePublicKey& own, const PairNonce& nonce);
  static PairNonce random_nonce();

  // Of the connecting side: what it sends first.
  std::vector<std::byte> begin() const;
  // Takes the other end's next message; returns the answer, empty for none. kCorrupt: no such message, or not the one that is due.
  // kRefused: it is not what was committed to, or this end's own key.
  Result<std::vector<std::byte>> receive(std::span<const std::byte> bytes);

  bool done() const { return peer_.has_value(); }
  // Once done: the other end's key, to be believed when both ends show the same code: "0271 8281".
  const CurvePublicKey& peer() const { return peer_->key; }
  std::string code() const;

 private:
  const Side side_;
  const PairReveal own_;
  std::optional<PairCommit> committed_;
  std::optional<PairReveal> peer_;
};

}  // namespace understudy
