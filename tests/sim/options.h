// How a run is set up, and the bugs that can be planted to prove that the oracles see them.
#pragma once

#include <cstdint>

namespace understudy::sim {

enum class Bug : std::uint8_t {
  kNone,
  kPromiseNotStored,   // the store says "synced" and did nothing
  kAcksAfterTakeover,  // the secondary's session goes on acking, whatever was promised and granted
  kAckOpensTooMuch,    // an ack opens the gate for the epoch after it, too
  kSoloUnproven,       // solo is asked for without looking at the probes
  kProtectTooEarly,    // the gate claims that nothing left before it began to wait
  kSoloStrikesNobody,  // the witness leaves the peer eligible
  kGateAlwaysOpen,     // output does not wait
  kGrantNotStored,     // the witness forgets its latest record in a crash
  kEndNotTold,         // an epoch does not say that the guest is over at its end
  kEndToldTooEarly,    // the primary takes any ack for one of the epoch in which the guest is over
  kOrdersNotStored,    // what an operator ordered is gone after a restart
  kOperatorLies,       // kManual: operators grant whatever is waited for
  kOwnRecordTrusted,   // kManual: nodes take their own record for a third place's
  kLast = kOwnRecordTrusted,
};

enum class Scenario : std::uint8_t {
  kChaos,        // anything, many times over, then all heals
  kNoCrash,      // the same without a process or a restore that fails: an image must survive
  kSingleFault,  // one fault on a protected pair, for good: the service must go on
  kManual,       // no witness: each node has its own record, and operators grant, who know the truth
  kEndurance,    // many faults, one after another, each healed: the service must go on over each, and the pair be protected again
};

constexpr const char* name_of(Scenario scenario) {
  switch (scenario) {
    case Scenario::kChaos:
      return "chaos";
    case Scenario::kNoCrash:
      return "nocrash";
    case Scenario::kSingleFault:
      return "single";
    case Scenario::kManual:
      return "manual";
    case Scenario::kEndurance:
      return "endurance";
  }
  return "";
}

struct Options {
  std::uint64_t seed = 1;
  Scenario scenario = Scenario::kChaos;
  Bug bug = Bug::kNone;
  unsigned faults = 1000;      // kEndurance: so many
  bool real_sessions = false;  // the sessions and the gate of replication/, on fake machines; else a fast model of them
  bool recorded = false;       // every node is recorded, and its record replayed at once
  bool verbose = false;
};

}  // namespace understudy::sim
