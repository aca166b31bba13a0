// Values to words, so that equal things have equal words, and words to a digest. What is written for people is left out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include <xxhash.h>

#include "failover/node_io.h"
#include "failover/witness_core.h"

namespace understudy::explore {

struct Digest {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  friend bool operator==(const Digest&, const Digest&) = default;
};
struct DigestHash {
  std::size_t operator()(const Digest& digest) const { return digest.low; }
};

class Canon {
 public:
  void clear() { words_.clear(); }
  Digest digest() const {
    const XXH128_hash_t hash = XXH3_128bits(words_.data(), words_.size() * sizeof(std::uint64_t));
    return {hash.low64, hash.high64};
  }

  template <class T>
  requires(std::is_enum_v<T> || std::is_integral_v<T>) void operator()(T value) { words_.push_back(static_cast<std::uint64_t>(value)); }
  template <class Tag>
  void operator()(StrongU64<Tag> id) {
    (*this)(id.raw());
  }
  void operator()(Duration duration) { (*this)(duration.count()); }
  template <class T>
  void operator()(const std::optional<T>& value) {
    (*this)(value.has_value());
    if (value) (*this)(*value);
  }
  template <class T>
  void operator()(const std::vector<T>& values) {
    (*this)(values.size());
    for (const T& value : values) (*this)(value);
  }
  void operator()(const NodeIncarnation& who) {
    (*this)(who.node);
    (*this)(who.incarnation);
  }
  void operator()(const EpochPosition& at) {
    (*this)(at.term);
    (*this)(at.epoch);
  }
  void operator()(const HandoverOffer& offer) {
    (*this)(offer.term);
    (*this)(offer.final_epoch);
  }
  void operator()(const ArbiterRecord& record) {
    (*this)(record.term);
    (*this)(record.mode);
    (*this)(record.holder);
    (*this)(record.eligible);
    (*this)(record.request);
  }
  void operator()(const Proposal& proposal) {
    (*this)(proposal.kind);
    (*this)(proposal.request);
    (*this)(proposal.expected_term);
    (*this)(proposal.at_least);
    (*this)(proposal.proposer);
    (*this)(proposal.peer);
  }
  void operator()(const ArbiterAnswer& answer) {
    (*this)(answer.granted);
    (*this)(answer.record);
    (*this)(answer.store);
  }
  void operator()(const WitnessPair& pair) {
    (*this)(pair.record);
    (*this)(pair.made_by);
    (*this)(pair.forgotten);
  }
  void operator()(const PathEvidence& evidence) {
    (*this)(evidence.path);
    (*this)(evidence.health);
    (*this)(evidence.age);
    (*this)(evidence.suspected);
    (*this)(evidence.beyond);
  }
  void operator()(const Hold& hold) {
    (*this)(hold.revision);
    (*this)(hold.held);
    (*this)(hold.since_ns);
    (*this)(hold.until_ns);
  }
  void operator()(const Heartbeat& beat) {
    (*this)(beat.sender);
    (*this)(beat.sequence);
    (*this)(beat.echo_incarnation);
    (*this)(beat.echo_sequence);
    (*this)(beat.role);
    (*this)(beat.term);
    (*this)(beat.promise);
    (*this)(beat.has_history);
    (*this)(beat.image_whole);
    (*this)(beat.committed);
    (*this)(beat.eligible_peer);
    (*this)(beat.guest_stopped);
    (*this)(beat.guest.empty());
    (*this)(beat.handover);
    (*this)(beat.refusal.empty());
    (*this)(beat.evidence);
    (*this)(beat.just_moved);
    (*this)(beat.hold);
    (*this)(beat.hold_ends_in);
    (*this)(beat.wants_no_peer);
  }

 private:
  std::vector<std::uint64_t> words_;
};

}  // namespace understudy::explore
