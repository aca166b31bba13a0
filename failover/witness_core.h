// The witness's rules, pure: what it keeps of one pair, and what it answers to a proposal. No clock, no disk, no socket.
//
// Invariants of a record (checked by valid()): 1 to 2 eligible of different nodes, the holder among them; solo means the holder alone;
// term, request and incarnations are not zero. Of its history: every change raises the term, so a term has one holder for ever.
// failover/WITNESS.md lists the rules with their reasons.
#pragma once

#include <cstdint>
#include <optional>

#include "failover/arbiter.h"

namespace understudy {

// A proposal may not lift the term further than this: a wild at_least must not use up all terms.
inline constexpr std::uint64_t kMaxTermStep = std::uint64_t{1} << 32;
// Nothing above is believed: terms never come near the end of their numbers.
inline constexpr Term kMaxTerm{std::uint64_t{1} << 62};

// All that a witness keeps of one pair.
struct WitnessPair {
  std::optional<ArbiterRecord> record;
  // The proposal that made the record: its repetition gets the same grant again. nullopt: an operator's seed made it.
  std::optional<Proposal> made_by;
  // The highest term that someone proved to know of while this store did not. Above the record's term it means that the store was lost or
  // rolled back: nothing is granted until an operator seeds a term above.
  Term forgotten;
  friend bool operator==(const WitnessPair&, const WitnessPair&) = default;
};

// Of the store as a whole.
struct WitnessIdentity {
  StoreId store;
  bool amnesiac = false;  // replaces a store that was lost: pairs without a record may have a history, so none is bootstrapped unseeded
};

struct WitnessDecision {
  ArbiterAnswer answer;
  std::optional<WitnessPair> changed;  // to be on stable storage before the answer leaves
};

bool valid(const ArbiterRecord& record);

ArbiterAnswer answer_read(const WitnessPair& pair, const WitnessIdentity& witness);
// Any proposal, however mad, gets an answer: a grant, or a refusal with the record as it stands and the reason.
WitnessDecision decide(const WitnessPair& pair, const Proposal& proposal, const WitnessIdentity& witness);

// An operator's word after the store was lost: `holder` is who runs (or last ran) the guest, `term` is above every term of either node.
// Gives a record (solo, holder alone) from which the holder can go on. Refused where an intact record exists, and at or below a known term.
WitnessDecision decide_seed(const WitnessPair& pair, Term term, NodeIncarnation holder, const WitnessIdentity& witness);

}  // namespace understudy
