#include "failover/witness_core.h"

#include <algorithm>
#include <string>
#include <utility>

#include "net/base/check.h"

namespace understudy {

namespace {
std::string text_of(Term term) { return "term " + std::to_string(term.raw()); }
std::string text_of(const NodeIncarnation& who) {
  return std::string{"node "} + name_of(who.node) + " (incarnation " + std::to_string(who.incarnation.raw()) + ")";
}

bool is_eligible(const ArbiterRecord& record, const NodeIncarnation& who) {
  return std::ranges::find(record.eligible, who) != record.eligible.end();
}

// The same wish again, as one whose answer was lost is repeated. Its at_least may have risen meanwhile.
bool repeats(const Proposal& again, const Proposal& first) {
  return again.kind == first.kind && again.request == first.request && again.expected_term == first.expected_term &&
         again.proposer == first.proposer && again.peer == first.peer;
}

// What this pair's arbiter granted, or must have granted, beyond this store's knowledge.
bool has_forgotten(const WitnessPair& pair) { return pair.forgotten > (pair.record ? pair.record->term : Term{}); }

ArbiterAnswer answer(const std::optional<ArbiterRecord>& record, StoreId store, bool granted, std::string reason) {
  return {.granted = granted, .record = record, .store = store, .reason = std::move(reason)};
}

// The rule of each kind: what the record becomes (but for term and request), or why not.
struct Outcome {
  ArbiterRecord next;
  std::string refusal;  // empty: granted
};
Outcome refuse(std::string why) { return {.next = {}, .refusal = std::move(why)}; }

Outcome apply(const ArbiterRecord& record, const Proposal& proposal) {
  const auto& who = proposal.proposer;
  const bool holds = record.holder == who;
  ArbiterRecord next = record;
  switch (proposal.kind) {
    case ProposalKind::kBootstrap:
      return refuse("the pair is not new: it is at " + text_of(record.term));
    case ProposalKind::kTakeover:
      if (holds) return refuse(text_of(who) + " holds the term already: a holder asks for solo");
      if (!is_eligible(record, who)) return refuse(text_of(who) + " is not eligible");
      next.mode = PairMode::kSolo;
      next.holder = who;
      next.eligible = {who};
      return {next, {}};
    case ProposalKind::kSolo:
      if (!holds) return refuse(text_of(who) + " does not hold the term; " + text_of(record.holder) + " does");
      next.mode = PairMode::kSolo;
      next.eligible = {who};
      return {next, {}};
    case ProposalKind::kReprotect:
      if (!holds) return refuse(text_of(who) + " does not hold the term; " + text_of(record.holder) + " does");
      if (!proposal.peer || proposal.peer->node != peer_of(who.node) || proposal.peer->incarnation == Incarnation{})
        return refuse("a re-protection names the peer with its incarnation");
      next.mode = PairMode::kPair;
      next.eligible = {who, *proposal.peer};
      return {next, {}};
    case ProposalKind::kSwitchover:
      if (holds) return refuse(text_of(who) + " holds the term already: the node that shall take over asks");
      if (!is_eligible(record, who)) return refuse(text_of(who) + " is not eligible");
      if (proposal.peer != record.holder) return refuse("a switchover names the holder that stays eligible: " + text_of(record.holder));
      next.mode = PairMode::kPair;
      next.holder = who;
      return {next, {}};
    case ProposalKind::kRenew:
      if (!holds) return refuse(text_of(who) + " does not hold the term; " + text_of(record.holder) + " does");
      return {next, {}};
  }
  return refuse("unknown kind of proposal " + std::to_string(static_cast<unsigned>(proposal.kind)));
}

Outcome bootstrap(const Proposal& proposal, const WitnessIdentity& witness) {
  if (proposal.kind != ProposalKind::kBootstrap) return refuse("no record of this pair: it was never bootstrapped here");
  if (witness.amnesiac) return refuse("this witness replaces one whose store was lost: seed the pair above both nodes' terms first");
  return {{.term = {}, .mode = PairMode::kSolo, .holder = proposal.proposer, .eligible = {proposal.proposer}, .request = {}}, {}};
}

std::string implausible(const Proposal& proposal, Term now) {
  if (proposal.request == RequestId{}) return "the proposal has no request id";
  if (proposal.proposer.incarnation == Incarnation{}) return "the proposer has no incarnation";
  if (proposal.proposer.node != NodeId::kA && proposal.proposer.node != NodeId::kB) return "the proposer is no node of a pair";
  if (proposal.expected_term > kMaxTerm || proposal.at_least > kMaxTerm) return "no pair lives to see such a term";
  if (proposal.at_least.raw() > now.raw() && proposal.at_least.raw() - now.raw() > kMaxTermStep)
    return text_of(proposal.at_least) + " is too far above " + text_of(now);
  return {};
}

// The highest term that the proposal proves to have existed. One who read no record, and yet wants more than the first term, has a history.
Term known_to(const Proposal& proposal, const WitnessPair& pair) {
  const bool has_history = !pair.record && proposal.expected_term == Term{} && proposal.at_least > Term{1};
  return has_history ? proposal.at_least : proposal.expected_term;
}
}  // namespace

bool valid(const ArbiterRecord& record) {
  if (record.term == Term{} || record.eligible.empty() || record.eligible.size() > 2) return false;
  if (!is_eligible(record, record.holder)) return false;
  if (record.eligible.size() == 2 && record.eligible[0].node == record.eligible[1].node) return false;
  if ((record.mode == PairMode::kSolo) != (record.eligible.size() == 1)) return false;
  return std::ranges::none_of(record.eligible, [](const auto& who) { return who.incarnation == Incarnation{}; });
}

ArbiterAnswer answer_read(const WitnessPair& pair, const WitnessIdentity& witness) { return answer(pair.record, witness.store, false, {}); }

WitnessDecision decide(const WitnessPair& pair, const Proposal& proposal, const WitnessIdentity& witness) {
  const auto& record = pair.record;
  const Term now = record ? record->term : Term{};
  const auto refused = [&](std::string why) {
    return WitnessDecision{.answer = answer(record, witness.store, false, std::move(why)), .changed = {}};
  };
  if (auto why = implausible(proposal, now); !why.empty()) return refused(std::move(why));

  // Whoever read a higher term read it from this pair's arbiter: this store is not what it was. From then on it answers nobody.
  if (const Term known = known_to(proposal, pair); known > now && known > pair.forgotten) {
    auto forgetful = pair;
    forgetful.forgotten = known;
    auto decision = refused("the proposer knows of " + text_of(known) + ", this witness only of " + text_of(now) +
                            ": its store was lost or rolled back; seed the pair above both nodes' terms");
    decision.changed = std::move(forgetful);
    return decision;
  }
  if (has_forgotten(pair))
    return refused("this witness has forgotten " + text_of(pair.forgotten) + ": seed the pair above both nodes' terms");

  // A repetition: its first answer may have been lost. Granted as long as the record is still the one that it made.
  if (record && proposal.request == record->request) {
    if (pair.made_by && repeats(proposal, *pair.made_by) && proposal.at_least <= now)
      return {.answer = answer(record, witness.store, true, {}), .changed = {}};
    return refused("the request id is that of another proposal, or the grant no longer suffices");
  }
  if (proposal.expected_term != now)
    return refused("the record moved on: it is at " + text_of(now) + ", not " + text_of(proposal.expected_term));

  auto outcome = record ? apply(*record, proposal) : bootstrap(proposal, witness);
  if (!outcome.refusal.empty()) return refused(std::move(outcome.refusal));

  outcome.next.term = std::max(after(now), proposal.at_least);
  outcome.next.request = proposal.request;
  US_CHECK(valid(outcome.next) && outcome.next.term > now);
  return {.answer = answer(outcome.next, witness.store, true, {}),
          .changed = WitnessPair{.record = outcome.next, .made_by = proposal, .forgotten = pair.forgotten}};
}

WitnessDecision decide_seed(const WitnessPair& pair, Term term, NodeIncarnation holder, const WitnessIdentity& witness) {
  const auto refused = [&](std::string why) {
    return WitnessDecision{.answer = answer(pair.record, witness.store, false, std::move(why)), .changed = {}};
  };
  const ArbiterRecord seeded{.term = term, .mode = PairMode::kSolo, .holder = holder, .eligible = {holder}, .request = {}};
  if (holder.incarnation == Incarnation{} || (holder.node != NodeId::kA && holder.node != NodeId::kB))
    return refused("a seed names the node that runs the guest, with its incarnation: see `understudy status`");
  if (term == Term{} || term > kMaxTerm) return refused("a seed's term is 1 to " + std::to_string(kMaxTerm.raw()));
  if (pair.record == seeded) return {.answer = answer(pair.record, witness.store, true, {}), .changed = {}};  // its answer was lost
  if (pair.record && !has_forgotten(pair)) return refused("the record is intact, at " + text_of(pair.record->term) + ": nothing to seed");
  if (const Term floor = std::max(pair.forgotten, pair.record ? pair.record->term : Term{}); term <= floor)
    return refused(text_of(term) + " is not above " + text_of(floor) + ", which is known to have existed");
  return {.answer = answer(seeded, witness.store, true, {}),
          .changed = WitnessPair{.record = seeded, .made_by = std::nullopt, .forgotten = pair.forgotten}};
}

}  // namespace understudy
