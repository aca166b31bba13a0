// Every node that the exploration has met, once, by number; and what each does on each event, once.
//
// A pair's state then is a handful of numbers, and the same node in ten thousand pairs is stepped a single time. Nodes are told apart by
// Node::visit_state(), in which time is relative: each host has its own clock here, and only what lies between two of its steps matters.
//
// Threading: none; one exploration owns it.
#pragma once

#include <deque>
#include <memory>
#include <unordered_map>
#include <vector>

#include "failover/node.h"
#include "failover/witness_core.h"
#include "tests/explore/canon.h"

namespace understudy::explore {

// The unit of abstract time: the node's ticks are one apart. Its length means nothing but in relation to NodeConfig's.
inline constexpr Duration kTickLength = std::chrono::milliseconds{50};

using NodeRef = std::uint32_t;
inline constexpr NodeRef kNoNode = 0;

enum class EventKind : std::uint8_t {
  kStarted,  // a: incarnation, b: term, c: promise, d: orders << 16 | committed term << 8 | epoch
  kTick,     // with the probe's report; a: PathState
  kHeartbeat,
  kAnswer,            // c: ask, d: answer
  kSessionUp,         // a: session, b: term, c: peer
  kImageOverwritten,  //
  kEpochCommitted,    // a: session, b: term, c: epoch
  kSessionBroken,
  kSessionRefused,    // a: the peer's promise
  kPromisePersisted,  // a
  kTermPersisted,     // a
  kOrdersPersisted,   // a: order
  kStoreFailed,
  kGateSet,           // c: order, a: open epoch
  kGuestRunning,      // a: term
  kHandoverFinished,  // a: term, b: epoch
  kHandoverFailed,
  kLoopGap,  // as long as the lag
  kCommand,  // a: CommandKind, b: id
};

enum class PathState : std::uint8_t { kWorks, kFailed, kHangs };

struct Event {
  EventKind kind = EventKind::kTick;
  std::uint8_t a = 0;
  std::uint8_t b = 0;
  std::uint16_t c = 0;
  std::uint32_t d = 0;
};

enum class DeedKind : std::uint8_t {
  kRead,            // c: ask
  kPropose,         // c: ask, d: proposal
  kPersistPromise,  // a
  kPersistTerm,     // a
  kPersistOrders,   // a: order, b: orders
  kSendHeartbeat,   // c: sequence, d
  kBoot,            // a: term
  kTakeOver,        // a
  kFinish,
  kResume,  // a
  kStop,
  kStartSession,  // a: term, b: peer
  kRaiseTerm,     // a
  kStopSession,
  kAcceptSessions,  // a: floor, b: keep the image
  kRefuseSessions,
  kSetGate,  // c: order, a: mode, b: term, d: peer
  kRejoin,
};

struct Deed {
  DeedKind kind = DeedKind::kRead;
  std::uint8_t a = 0;
  std::uint8_t b = 0;
  std::uint16_t c = 0;
  std::uint32_t d = 0;
  friend bool operator==(const Deed&, const Deed&) = default;
};

class NodeBook {
 public:
  explicit NodeBook(const NodeConfig& config);

  // A process that was not told yet that it has started.
  NodeRef fresh(NodeId id) const { return id == NodeId::kA ? 1 : 2; }

  struct Step {
    NodeRef node = kNoNode;
    std::uint32_t first_deed = 0;
    std::uint32_t deeds = 0;
  };
  // `lag`: ticks since this node's latest step.
  Step step(NodeRef ref, std::uint8_t lag, const Event& event);
  const Deed& deed(std::uint32_t index) const { return deeds_[index]; }
  const Node& node(NodeRef ref) const { return known_[ref]->node; }

  std::uint32_t number_of(const ArbiterAnswer& answer) { return answers_.number_of(answer); }
  std::uint32_t number_of(const WitnessPair& pair) { return pairs_.number_of(pair); }
  const WitnessPair& pair(std::uint32_t number) const { return pairs_[number]; }
  const Proposal& proposal(std::uint32_t number) const { return proposals_[number]; }
  const ArbiterAnswer& answer(std::uint32_t number) const { return answers_[number]; }
  const Heartbeat& heartbeat(std::uint32_t number) const { return heartbeats_[number]; }

  std::size_t nodes() const { return known_.size() - 1; }
  std::size_t steps() const { return steps_.size(); }
  // Nodes that were held to be the same were stepped both; so often they did not do the same (0, or visit_state() leaves something out).
  void check_merges(bool check) { check_merges_ = check; }
  std::uint64_t checked_merges() const { return checked_merges_; }
  std::uint64_t false_merges() const { return false_merges_; }

 private:
  struct Known {
    Node node;
    Instant now;
  };
  template <class T>
  class Numbering {
   public:
    std::uint32_t number_of(const T& value) {
      canon_.clear();
      canon_(value);
      const auto [found, is_new] = numbers_.try_emplace(canon_.digest(), static_cast<std::uint32_t>(values_.size()));
      if (is_new) values_.push_back(value);
      return found->second;
    }
    const T& operator[](std::uint32_t number) const { return values_[number]; }

   private:
    Canon canon_;
    std::unordered_map<Digest, std::uint32_t, DigestHash> numbers_;
    std::deque<T> values_;
  };

  NodeRef number_of(std::unique_ptr<Known> node);
  Digest digest_of(const Node& node);
  void check_merge(const Known& one, const Known& other);
  std::vector<Deed> carry(Known& known, std::uint8_t lag, const Event& event);
  std::optional<Deed> deed_of(const Action& action);

  Canon canon_;
  std::vector<std::unique_ptr<Known>> known_;
  std::unordered_map<Digest, NodeRef, DigestHash> refs_;
  std::unordered_map<Digest, Step, DigestHash> steps_;
  std::deque<Deed> deeds_;
  Numbering<Proposal> proposals_;
  Numbering<ArbiterAnswer> answers_;
  Numbering<Heartbeat> heartbeats_;
  Numbering<WitnessPair> pairs_;
  bool check_merges_ = false;
  std::uint64_t checked_merges_ = 0;
  std::uint64_t false_merges_ = 0;
};

}  // namespace understudy::explore
