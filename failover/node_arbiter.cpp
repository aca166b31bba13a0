// The node and its arbiter: asking, learning what the record says, and acting on a grant once its term is on stable storage.
#include "failover/node.h"
#include "net/base/check.h"

namespace understudy {
namespace {

constexpr bool asks_to_change(AskId ask) { return (ask.raw() & 1) != 0; }

std::string describe(const ArbiterRecord& record) {
  return "term " + std::to_string(record.term.raw()) + (record.mode == PairMode::kSolo ? " solo " : " pair ") + name_of(record.holder.node);
}

}  // namespace

bool Node::eligible_by(const ArbiterRecord& record) const {
  return std::find(record.eligible.begin(), record.eligible.end(), self_) != record.eligible.end();
}

void Node::pursue(Goal goal, Term at_least) {
  // Replacing a proposal that may still be granted is safe among a holder's own: both are made on the same term, so at most one succeeds,
  // and the answer to either tells which.
  US_CHECK(!taking_over() || stage_ != Stage::kProposing || goal == goal_);
  goal_ = goal;
  at_least_ = at_least;
  proposal_.reset();
  stage_ = goal == Goal::kRead || taking_over() ? Stage::kReading : Stage::kProposing;
  goal_asked_from_ = AskId{(asks_ + 1) * 2};
  if (stage_ == Stage::kProposing) propose();
  ask();
}

void Node::drop_goal() {
  goal_ = Goal::kNone;
  proposal_.reset();
}

void Node::propose() {
  Proposal proposal;
  switch (goal_) {
    case Goal::kBootstrap:
      proposal.kind = ProposalKind::kBootstrap;
      break;
    case Goal::kSwitchover:
      proposal.kind = config_.switchover_keeps_image ? ProposalKind::kSwitchover : ProposalKind::kTakeover;
      break;
    case Goal::kTakeover:
      proposal.kind = ProposalKind::kTakeover;
      break;
    case Goal::kSolo:
      proposal.kind = ProposalKind::kSolo;
      break;
    case Goal::kReprotect:
      proposal.kind = ProposalKind::kReprotect;
      break;
    case Goal::kRenew:
      proposal.kind = ProposalKind::kRenew;
      break;
    case Goal::kNone:
    case Goal::kRead:
      US_CHECK(false);
  }
  proposal.request = make_request_id(self_.incarnation, ++requests_);
  proposal.expected_term = record_ ? record_->term : Term{};
  proposal.at_least = std::max({after(proposal.expected_term), at_least_, promise_, stored_term_});
  proposal.proposer = self_;
  if (proposal.kind == ProposalKind::kReprotect) proposal.peer = session_.peer;
  if (proposal.kind == ProposalKind::kSwitchover) proposal.peer = heard_peer();
  proposal_ = proposal;
  stage_ = Stage::kProposing;
}

void Node::ask() {
  ask_at_ = now_ + config_.arbiter_retry;
  if (!unanswered_since_) unanswered_since_ = now_;
  // When the reason for a takeover is gone, it is no longer urged; but whether it was granted must still be learnt.
  const bool urged = !taking_over() || goal_ == Goal::kSwitchover || command_ || (moves_by_itself() && reason_to_take_over());
  if (proposal_ && urged) {
    emit(action::Propose{AskId{++asks_ * 2 + 1}, *proposal_});
  } else {
    emit(action::ReadArbiter{AskId{++asks_ * 2}});
  }
}

void Node::ask_when_due() {
  if (goal_ != Goal::kNone && stage_ != Stage::kPromising && now_ >= ask_at_) ask();
}

void Node::on(const input::ArbiterAnswered& in) {
  if (in.ask > AskId{asks_ * 2 + 1}) return;
  unanswered_since_.reset();
  if (store_ != StoreId{} && in.answer.store != store_)
    note(Severity::kError, "the arbiter's store is another one", {{"store", std::to_string(in.answer.store.raw())}});
  store_ = in.answer.store;
  no_record_ = !in.answer.record;
  if (no_record_ && term_ != Term{})
    note(Severity::kError, "the arbiter has no record of this pair",
         {{"mend", "seed the arbiter above the terms of both nodes: understudyd arbiter seed --help"}});
  if (in.answer.record) {
    learn(*in.answer.record);
    confirm_by(in.ask, *in.answer.record);
  }
  if (goal_ == Goal::kNone || in.ask < goal_asked_from_) return;
  if (!proposal_) {
    if (goal_ == Goal::kRead) return drop_goal();
    if (stage_ == Stage::kPromising) return;  // on(PromisePersisted) goes on with the record as it then stands
    // Overtaken by what is known already (learn() left it out): the next answer tells.
    if (in.answer.record && in.answer.record != record_) return;
    if (in.answer.record) return go_on_reading(*in.answer.record);
    return candidacy_failed("the arbiter has no record of this pair");
  }
  switch (judge_petition(*proposal_, in.answer, asks_to_change(in.ask))) {
    case PetitionOutcome::kOpen:
      return;
    case PetitionOutcome::kGranted:
      return drop_goal();  // learn() has begun to act on it
    case PetitionOutcome::kLost:
      break;
  }
  note(Severity::kInfo, "proposal lost", {{"reason", in.answer.reason}});
  recheck_at_ = now_ + config_.arbiter_retry;
  if (taking_over()) return candidacy_failed(in.answer.reason.empty() ? "the record moved on" : in.answer.reason);
  if (goal_ == Goal::kReprotect) protecting_ = Protecting::kNo;
  drop_goal();
}

void Node::on(const input::ArbiterFailed& in) { note(Severity::kDebug, "arbiter does not answer", {{"reason", in.reason}}); }

// A candidate has heard from the arbiter: the record decides whether to go on.
void Node::go_on_reading(const ArbiterRecord& record) {
  if (!taking_over() || stage_ == Stage::kProposing) return;
  if (!eligible_by(record)) return candidacy_failed("not eligible: the arbiter's record is " + describe(record));
  if (!ended_.empty() && !(command_ && command_->start)) return candidacy_failed(ended_);
  if (goal_ == Goal::kTakeover && !command_ && !moves_by_itself()) return candidacy_failed("an operator holds the pair");
  if (stage_ == Stage::kReading) mark(action::Milestone::kArbiterReached);
  promising_ = std::max({after(record.term), promising_, promise_});
  if (promise_ >= promising_) {
    propose();
    return ask();
  }
  stage_ = Stage::kPromising;
  beat_now_ = true;
  emit(action::PersistPromise{promising_});
}

void Node::on(const input::PromisePersisted& in) {
  promise_ = std::max(promise_, in.promise);
  if (!taking_over() || stage_ != Stage::kPromising || promise_ < promising_) return;
  mark(action::Milestone::kPromised);
  go_on_reading(*record_);  // which may have moved on meanwhile
}

void Node::confirm_by(AskId ask, const ArbiterRecord& record) {
  if (confirmation_ && ask >= confirmation_->from && runs_guest() && record.holder == self_ && record.term >= term_) confirmed();
}

void Node::learn(const ArbiterRecord& record) {
  // An answer may be overtaken by another, or by a heartbeat of the one who was granted a later term.
  if ((record_ && record.term < record_->term) || (record.term < term_ && term_ > stored_term_)) return;
  if (record.term < stored_term_) {
    note(Severity::kError, "the arbiter's record is older than this node", {{"record", describe(record)}});
    return;
  }
  record_ = record;
  const std::string why = "the arbiter's record is " + describe(record);
  switch (role_) {
    case Role::kStarting:
      return begin(record);
    case Role::kPrimary:
    case Role::kSolo:
      if (record.holder != self_) return superseded(why, record.term, record.mode == PairMode::kPair && eligible_by(record));
      if (record.term > term_) apply_later(record);
      return;
    case Role::kSecondary:
      if (record.holder != self_ || record.term <= term_) return;
      if (!image_whole_ && !applying_) return fence("granted a term without a whole image: " + why, false);
      return apply_later(record);
    case Role::kFenced:
      return;
  }
}

// The first record seen since this process started.
void Node::begin(const ArbiterRecord& record) {
  if (record.holder == self_ && joins_again_)
    return fence("the arbiter's record is " + describe(record) + ", but no guest runs here: restart this daemon", true);
  if (record.holder == self_) return apply_later(record);
  if (record.holder.node != config_.node) return become_secondary("the peer holds " + describe(record));
  if (record.eligible.size() > 1) return become_secondary("this node's image was lost in a restart; the peer may take over");
  if (!ended_.empty())
    return fence(ended_ + "; this node has restarted since: start it as a new pair, under another [pair] name and with empty state folders",
                 false);
  fence("the guest's only image was lost when this node restarted (the record is " + describe(record) +
            "): boot it as a new pair, under another [pair] name and with empty state folders",
        false);
}

void Node::apply_later(const ArbiterRecord& record) {
  if (applying_ && applying_->term >= record.term) return;
  if (role_ == Role::kSecondary) emit(action::RefuseSessions{});
  applying_ = record;
  handed_over_ = goal_ == Goal::kSwitchover;
  mark(action::Milestone::kGranted);
  note(Severity::kInfo, "granted", {{"record", describe(record)}});
  if (stored_term_ >= record.term) return apply();
  storing_term_ = std::max(storing_term_, record.term);
  emit(action::PersistTerm{record.term, true});
}

// As secondary: the term of the primary it follows. Nothing waits for the store here.
void Node::follow(Term term) {
  if (term > term_) {
    term_ = term;
    beat_now_ = true;
  }
  has_history_ = true;
  if (term <= storing_term_) return;
  storing_term_ = term;
  emit(action::PersistTerm{term});
}

void Node::on(const input::TermPersisted& in) {
  stored_term_ = std::max(stored_term_, in.term);
  if (applying_ && stored_term_ >= applying_->term) apply();
}

void Node::on(const input::StoreFailed& in) {
  note(Severity::kError, "store failed", {{"reason", in.reason}});
  if (!store_failed_) store_failed_ = now_;
}

// The granted term is on stable storage: act in it.
void Node::apply() {
  if (fence_peer_first()) return;
  const ArbiterRecord record = *applying_;
  applying_.reset();
  mark(action::Milestone::kTermStored);
  const Role was = role_;
  term_ = record.term;
  has_history_ = true;
  beat_now_ = true;
  protecting_ = Protecting::kNo;
  role_ = record.mode == PairMode::kPair ? Role::kPrimary : Role::kSolo;
  note(Severity::kInfo, "acts in a new term", {{"role", name_of(role_)}, {"was", name_of(was)}});
  if (was == Role::kPrimary || was == Role::kSolo) {
    why_ = role_ == Role::kPrimary ? "the peer is eligible to take over"
           : wants_no_peer_        ? "runs alone, as an operator wants it: `understudy protect` takes the peer back"
                                   : "runs alone: the peer is not eligible";
    // Solo strikes the peer: only a new session makes it whole again in the arbiter's eyes.
    if (role_ == Role::kSolo) {
      stop_session();
      session_at_ = now_;
    } else if (session_.started) {
      emit(action::RaiseSessionTerm{term_});
    }
    session_down_at_ = now_;
    sync_gate();
    if (guest_ == Guest::kPaused && !handover_) {  // a switchover that failed is settled: nobody else was granted this guest
      guest_ = Guest::kStarting;
      guest_term_ = term_;
      emit(action::ResumeGuest{term_});
    }
    return;
  }
  guest_ = Guest::kStarting;
  guest_term_ = term_;
  session_ = {};
  session_at_ = session_down_at_ = now_;
  acked_at_ = now_;
  peer_.note_contact(now_);
  sync_gate();
  if (was == Role::kStarting) {
    why_ = "booted the guest of a new pair";
    emit(action::BootGuest{term_});
    return;
  }
  image_whole_ = false;
  refusal_.clear();
  moved_at_ = now_;
  why_ = "took over at epoch " + std::to_string(committed_.epoch.raw()) + " of term " + std::to_string(committed_.term.raw());
  if (candidate_for_broken_) took_over_broken_at_ = now_;
  if (config_.fencing == Fencing::kAlongside && !handed_over_) emit(action::FencePeer{fencing_for_ = term_});
  // What is over is started only by an operator who saw that it was: an epoch with its end may have come after everything was asked.
  emit(action::TakeOver{term_, command_ && command_->start});
  if (role_ == Role::kPrimary) start_session(committed_);
}

}  // namespace understudy
