// The arbiter of a pair without a third place: this node's own copy of the pair's record, under the witness's rules.
//
// The two nodes' copies are one record as long as operators say the truth (failover/MANUAL.md). A node's copy follows the other's by
// heartbeats; terms of node a are odd and those of node b even, so that no term ever has two holders, whatever was said.
#pragma once

#include <memory>
#include <optional>

#include "failover/arbiter.h"
#include "failover/node_io.h"
#include "failover/witness_core.h"
#include "net/base/event_loop.h"

namespace understudy {

class WitnessStore;

// The rules, pure: what the node's copy becomes.
WitnessDecision decide_manually(const WitnessPair& pair, Proposal proposal, const WitnessIdentity& identity);
// What a holder's heartbeat tells of the pair's record; nullopt where it is nothing new.
std::optional<WitnessPair> adopt(const WitnessPair& pair, const Heartbeat& heartbeat);

class ManualArbiter final : public Arbiter {
 public:
  // `loop` outlives the arbiter; answers come on it. The store is used on a thread of its own, since a disk may hang.
  static Result<std::unique_ptr<ManualArbiter>> create(EventLoop& loop, std::unique_ptr<WitnessStore> store, PairId pair);
  ~ManualArbiter() override;

  // Every call's callback comes once while the arbiter lives, never from within the call. Errors: the store's.
  void read(Callback done) override;
  void propose(const Proposal& proposal, Callback done) override;
  // What the other node says, before the node itself is told: its record is this pair's, too.
  void heard(const Heartbeat& heartbeat);

 private:
  class Impl;
  explicit ManualArbiter(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace understudy
