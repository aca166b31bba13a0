// What a node must not forget. RocksDB hides behind it; simulations have one that loses what was not synced.
//
// Threading: any call may block for as long as the disk does; daemons call it on a store thread with a deadline (design, rule 7).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "net/base/ids.h"
#include "net/base/result.h"

namespace understudy {

struct NodeIdentity {
  PairId pair;
  NodeId node = NodeId::kA;
  Incarnation incarnation;  // new whenever this node's image was lost
  friend bool operator==(const NodeIdentity&, const NodeIdentity&) = default;
};

struct CommittedEpoch {
  Term term;
  Epoch epoch;
  friend auto operator<=>(const CommittedEpoch&, const CommittedEpoch&) = default;
};

class EpochStore {
 public:
  virtual ~EpochStore() = default;

  // Each put but the last is on stable storage when it returns.
  virtual Result<void> put_identity(const NodeIdentity& identity) = 0;
  virtual Result<void> put_term(Term term) = 0;                            // the highest term this node acted in; never lowered
  virtual Result<void> put_promise(Term promised) = 0;                     // from then on never acks a lower term; never lowered
  virtual Result<void> put_end(const std::string& ended) = 0;              // how the guest ended by itself; empty: it lives
  virtual Result<void> put_orders(std::span<const std::byte> orders) = 0;  // an operator's, to this node: a message of the caller's
  // Cuts (cut_store.h) up to here must not be started from: the disks hold, or are about to, what came later. A lower one than before
  // changes nothing.
  virtual Result<void> put_spoiled(CommittedEpoch through) = 0;
  // put_term(), and spoils every cut of a lower term, in one: this node is about to run the guest.
  virtual Result<void> put_holding(Term term) = 0;
  // Not synced: at worst an older epoch is found after a crash.
  virtual Result<void> put_committed(CommittedEpoch committed) = 0;

  // nullopt / zero on a store that never held one. kCorrupt when what is stored fails its check.
  virtual Result<std::optional<NodeIdentity>> identity() const = 0;
  virtual Result<Term> term() const = 0;
  virtual Result<Term> promise() const = 0;
  virtual Result<CommittedEpoch> committed() const = 0;
  virtual Result<CommittedEpoch> spoiled() const = 0;
  virtual Result<std::string> end() const = 0;
  virtual Result<std::vector<std::byte>> orders() const = 0;
};

}  // namespace understudy
