// The real witness's rules behind a faulty network and a process that can be killed.
#pragma once

#include <functional>
#include <optional>

#include "failover/witness_core.h"
#include "tests/sim/engine.h"
#include "tests/sim/network.h"
#include "tests/sim/options.h"
#include "tests/sim/oracle.h"

namespace understudy::sim {

class Witness {
 public:
  Witness(Engine& engine, Oracle& oracle, Bug bug) : engine_{engine}, oracle_{oracle}, bug_{bug} {}

  // Called with each new record.
  void on_grant(std::function<void(const ArbiterRecord&)> seen) { on_grant_ = std::move(seen); }
  void set_up(bool up) {
    if (up_ && !up && bug_ == Bug::kGrantNotStored) state_ = previous_;
    up_ = up;
  }
  // nullopt: nobody answers.
  std::optional<ArbiterAnswer> read() const;
  std::optional<ArbiterAnswer> propose(const Proposal& proposal);
  const WitnessPair& state() const { return state_; }

 private:
  Engine& engine_;
  Oracle& oracle_;
  const Bug bug_;
  std::function<void(const ArbiterRecord&)> on_grant_;
  bool up_ = true;
  WitnessPair state_;
  WitnessPair previous_;
  const WitnessIdentity identity_{.store = StoreId{77}, .amnesiac = false};
};

}  // namespace understudy::sim
