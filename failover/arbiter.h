// The one place that grants a term. The witness implements it, and etcd.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "net/base/ids.h"
#include "net/base/result.h"

namespace understudy {

enum class PairMode : std::uint8_t { kPair, kSolo };

// A node together with the image it holds.
struct NodeIncarnation {
  NodeId node = NodeId::kA;
  Incarnation incarnation;
  friend bool operator==(const NodeIncarnation&, const NodeIncarnation&) = default;
};

// One per pair, changed only by compare-and-set on the term.
struct ArbiterRecord {
  Term term;
  PairMode mode = PairMode::kSolo;
  NodeIncarnation holder;
  std::vector<NodeIncarnation> eligible;  // who may be granted the next term; holds the holder
  RequestId request;                      // the request that made this record
  friend bool operator==(const ArbiterRecord&, const ArbiterRecord&) = default;
};

enum class ProposalKind : std::uint8_t {
  kBootstrap,   // first start of a new pair: no record exists yet
  kTakeover,    // an eligible node becomes holder, solo; its peer is struck from the eligible
  kSolo,        // the holder goes on without its peer, which is struck
  kReprotect,   // the holder adds its peer, which has committed a whole epoch
  kSwitchover,  // an eligible node becomes holder, mode pair, both eligible
  kRenew,       // the holder raises the term over a promise, with nothing else changed
};

struct Proposal {
  ProposalKind kind = ProposalKind::kTakeover;
  RequestId request;   // the same on every repetition of one request
  Term expected_term;  // the record's term that this proposal was made on; the grant is after(expected_term) or above
  Term at_least;       // the granted term is not below this
  NodeIncarnation proposer;
  std::optional<NodeIncarnation> peer;  // kReprotect, kSwitchover: who becomes or stays eligible beside the holder
  friend bool operator==(const Proposal&, const Proposal&) = default;
};

struct ArbiterAnswer {
  bool granted = false;                 // record then holds what was asked for
  std::optional<ArbiterRecord> record;  // the record as it stands; nullopt when the arbiter has none for this pair
  StoreId store;
  std::string reason;  // of a refusal, for a person
};

// Loop-owned; answers come as callbacks on the same loop, at most once a call, possibly never (a lost message): the caller repeats.
class Arbiter {
 public:
  using Callback = std::function<void(Result<ArbiterAnswer>)>;
  virtual ~Arbiter() = default;
  virtual void read(Callback done) = 0;
  virtual void propose(const Proposal& proposal, Callback done) = 0;
};

}  // namespace understudy
