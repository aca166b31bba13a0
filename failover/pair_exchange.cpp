#include "failover/pair_exchange.h"

#include <algorithm>
#include <cstring>
#include <sodium.h>
#include <string_view>

#include <fmt/format.h>

#include "net/base/check.h"

namespace understudy {

namespace {

// Of every message: what it is, then which.
constexpr std::array<std::uint8_t, 8> kCommitHead{'U', 'S', 'P', 'A', 'I', 'R', 1, 1};
constexpr std::array<std::uint8_t, 8> kRevealHead{'U', 'S', 'P', 'A', 'I', 'R', 1, 2};
constexpr std::uint64_t kCodes = 100'000'000;

template <class... Part>
std::vector<std::byte> joined(const Part&... parts) {
  std::vector<std::byte> bytes;
  const auto add = [&bytes](const auto& part) {
    for (const auto byte : part) bytes.push_back(static_cast<std::byte>(byte));
  };
  (add(parts), ...);
  return bytes;
}

PairHash hash_of(std::string_view purpose, const std::vector<std::byte>& content) {
  US_CHECK(sodium_init() >= 0);
  crypto_generichash_state state;
  PairHash hash{};
  US_CHECK(crypto_generichash_init(&state, nullptr, 0, hash.size()) == 0);
  US_CHECK(crypto_generichash_update(&state, reinterpret_cast<const unsigned char*>(purpose.data()), purpose.size()) == 0);
  US_CHECK(crypto_generichash_update(&state, reinterpret_cast<const unsigned char*>(content.data()), content.size()) == 0);
  US_CHECK(crypto_generichash_final(&state, hash.data(), hash.size()) == 0);
  return hash;
}

template <std::size_t size>
std::array<std::uint8_t, size> take(std::span<const std::byte>& bytes) {
  std::array<std::uint8_t, size> out{};
  std::memcpy(out.data(), bytes.data(), size);
  bytes = bytes.subspan(size);
  return out;
}

}  // namespace

std::vector<std::byte> encode_pair_message(const PairMessage& message) {
  if (const auto* const commit = std::get_if<PairCommit>(&message)) return joined(kCommitHead, commit->hash);
  const auto& reveal = std::get<PairReveal>(message);
  return joined(kRevealHead, reveal.key.bytes(), reveal.nonce);
}

Result<PairMessage> decode_pair_message(std::span<const std::byte> bytes) {
  const Error corrupt{ErrorCode::kCorrupt, "a message that is none of `understudy pair` of this version"};
  if (bytes.size() < kCommitHead.size()) return corrupt;
  const auto head = take<8>(bytes);
  if (head == kCommitHead && bytes.size() == 32) return PairMessage{PairCommit{take<32>(bytes)}};
  if (head != kRevealHead || bytes.size() != 64) return corrupt;
  const CurvePublicKey key{take<32>(bytes)};
  return PairMessage{PairReveal{key, take<32>(bytes)}};
}

PairCommit commitment_to(const PairReveal& reveal) {
  return {hash_of("understudy pair 1: commitment", joined(reveal.key.bytes(), reveal.nonce))};
}

PairExchange::PairExchange(Side side, const CurvePublicKey& own, const PairNonce& nonce) : side_{side}, own_{own, nonce} {}

PairNonce PairExchange::random_nonce() {
  US_CHECK(sodium_init() >= 0);
  PairNonce nonce{};
  randombytes_buf(nonce.data(), nonce.size());
  return nonce;
}

std::vector<std::byte> PairExchange::begin() const {
  US_CHECK(side_ == Side::kConnects);
  return encode_pair_message(commitment_to(own_));
}

Result<std::vector<std::byte>> PairExchange::receive(std::span<const std::byte> bytes) {
  US_ASSIGN(const auto message, decode_pair_message(bytes));
  const auto* const commit = std::get_if<PairCommit>(&message);
  if (commit != nullptr && side_ == Side::kListens && !committed_) {
    committed_ = *commit;
    return encode_pair_message(own_);
  }
  const auto* const reveal = std::get_if<PairReveal>(&message);
  if (reveal == nullptr || done() || (side_ == Side::kListens && !committed_))
    return Error{ErrorCode::kCorrupt, "a message out of turn: let one end listen, the other connect, and nobody else"};
  if (committed_ && commitment_to(*reveal) != *committed_)
    return Error{ErrorCode::kRefused, "the other end showed another key than it had committed to: somebody may stand between"};
  if (reveal->key == own_.key) return Error{ErrorCode::kRefused, "the other end showed this end's own key: each host has a key of its own"};
  peer_ = *reveal;
  if (side_ == Side::kListens) return std::vector<std::byte>{};
  return encode_pair_message(own_);
}

std::string PairExchange::code() const {
  US_CHECK(done());
  const auto& first = side_ == Side::kConnects ? own_ : *peer_;
  const auto& second = side_ == Side::kConnects ? *peer_ : own_;
  const auto hash = hash_of("understudy pair 1: code", joined(first.key.bytes(), first.nonce, second.key.bytes(), second.nonce));
  std::uint64_t number = 0;
  for (std::size_t i = 0; i < 8; ++i) number = number << 8 | hash[i];
  number %= kCodes;
  return fmt::format("{:04} {:04}", number / 10'000, number % 10'000);
}

}  // namespace understudy
