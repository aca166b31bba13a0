#include "failover/node.h"

#include <algorithm>
#include <iterator>

#include "net/base/check.h"

namespace understudy {

Node::Node(NodeConfig config) : config_{std::move(config)} {}

std::vector<Action> Node::step(Instant now, const Input& input) {
  US_CHECK(!started_ || now >= now_);
  const Duration apart = now - now_;
  now_ = now;
  // A node that slept through its ticks is told so here even if nobody else noticed.
  if (started_ && apart > config_.gap_after && !std::holds_alternative<input::LoopGap>(input)) stood_still(apart);
  std::visit([this](const auto& in) { on(in); }, input);
  if (started_) evaluate();
  return std::exchange(out_, {});
}

void Node::on(const input::Started& in) {
  US_CHECK(!started_ && in.self.node == config_.node && in.self.incarnation != Incarnation{});
  started_ = true;
  self_ = in.self;
  stored_term_ = storing_term_ = in.term;
  term_ = in.term;
  promise_ = in.promise;
  committed_ = in.committed;
  ended_ = stored_end_ = in.ended;
  orders_ = in.orders;
  if (orders_.hold.held && in.hold_ends_in) hold_ends_at_ = now_ + *in.hold_ends_in;
  has_history_ = in.term != Term{} || in.promise != Term{} || in.committed != EpochPosition{};
  started_at_ = now_;
  why_ = "asks the arbiter for the pair's record";
  peer_.start_watching(now_);
}

void Node::on(const input::HeartbeatReceived& in) {
  const std::string told = peer_.known() ? peer_.last().guest : "";
  const PeerView::Reception reception = peer_.receive(in.heartbeat, self_, now_);
  if (reception == PeerView::Reception::kDropped) return;
  const Heartbeat& peer = peer_.last();
  hear_hold();
  if (!peer.guest.empty() && peer.guest != told) note(Severity::kWarning, "the peer tells of its guest", {{"what", peer.guest}});
  if (reception == PeerView::Reception::kNewIncarnation) {
    note(Severity::kInfo, "peer seen", {{"peer_role", name_of(peer.role)}, {"incarnation", std::to_string(peer.sender.incarnation.raw())}});
    beat_now_ = true;
  }
  const bool peer_runs = peer.role == Role::kPrimary || peer.role == Role::kSolo;
  const std::string claim = std::string{"the peer runs the guest in term "} + std::to_string(peer.term.raw());
  if (role_ == Role::kSecondary && peer_runs) follow(peer.term);
  if (!runs_guest()) return;
  if (peer_runs && peer.term > term_ && (!applying_ || peer.term > applying_->term))
    return superseded(claim, peer.term, peer.eligible_peer == self_.incarnation);
  // An old primary shows itself: the segment may follow its address back, so both it and the segment are told again.
  if (peer_runs && peer.term < term_ && now_ - announced_at_ >= std::chrono::seconds{1}) {
    announced_at_ = now_;
    beat_now_ = true;
    if (guest_ == Guest::kRunning) emit(action::AnnounceAddress{});
  }
  // Only the eligible peer could have been granted a higher term: its fresh word that it was not is as good as the arbiter's.
  if (confirmation_ && role_ == Role::kPrimary && peer.sender == eligible_peer() && peer.role == Role::kSecondary &&
      peer.promise <= term_ && peer.term <= term_ && peer_.echoed() >= confirmation_->heartbeat_from)
    confirmed();
}

void Node::on(const input::PeerConnection& in) {
  note(Severity::kDebug, in.connected ? "link to peer connected" : "link to peer lost");
  if (in.connected) beat_now_ = true;
}

void Node::on(const input::SessionUp& in) {
  if (role_ == Role::kSecondary) {
    session_ = {.up = true, .id = in.session, .peer = {peer_of(config_.node), in.peer}};
    image_source_ = in.peer;
    progress_at_ = now_;
    follow(in.term);
  } else if (session_.started && session_.peer.incarnation == in.peer) {
    session_.up = true;
    session_.id = in.session;
  }
  note(Severity::kInfo, "session up", {{"session", std::to_string(in.session.raw())}});
}

void Node::on(const input::ImageOverwritten&) {
  if (role_ != Role::kSecondary) return;
  image_whole_ = false;
  ended_.clear();
  why_ = "receives the guest's memory, all of it";
  // Nothing was proposed yet, and now must not be. (After a proposal no session of a term below it gets here.)
  if (taking_over() && stage_ != Stage::kProposing) candidacy_failed("the image is being overwritten");
}

void Node::on(const input::EpochCommitted& in) {
  if (!session_.up || in.session != session_.id || (!runs_guest() && role_ != Role::kSecondary)) return;
  committed_ = in.at;
  session_.committed = in.at.epoch;
  if (runs_guest()) {
    acked_at_ = now_;
    if (!in.ended.empty()) end_committed(in.ended);
  } else {
    progress_at_ = now_;
    peer_.note_alive(now_);
    if (!image_whole_) why_ = "holds the guest's image";
    image_whole_ = true;
    if (in.ended != ended_ && !in.ended.empty()) note(Severity::kWarning, "the guest is over, and is not taken over", {{"how", in.ended}});
    ended_ = in.ended;
    remember_end(ended_);
    follow(in.at.term);
  }
  if (!session_.whole) beat_now_ = true;
  session_.whole = true;
}

void Node::on(const input::SessionActivity&) { peer_.note_alive(now_); }

void Node::on(const input::SessionBroken& in) {
  note(Severity::kWarning, "session broken", {{"reason", in.reason}});
  session_over();
}

void Node::on(const input::SessionRefused& in) {
  note(Severity::kWarning, "session refused", {{"reason", in.reason}, {"peer_promise", std::to_string(in.peer_promise.raw())}});
  session_over();
}

void Node::on(const input::Probed& in) {
  auto& latest = probed_[static_cast<std::size_t>(in.report.path)];
  const bool changed = !latest || latest->health != in.report.health;
  latest = in.report;
  if (!changed) return;
  beat_now_ = true;
  note(in.report.health == Health::kFailed ? Severity::kWarning : Severity::kInfo, "probe",
       {{"path", name_of(in.report.path)}, {"health", name_of(in.report.health)}, {"text", in.report.text}});
}

void Node::on(const input::GateSet& in) {
  if (in.order != gate_.order || protecting_ != Protecting::kGate || gate_.mode != GateMode::kPair) return;
  open_epoch_ = in.open_epoch;
  protecting_ = Protecting::kCatchUp;
}

void Node::on(const input::GuestRunning& in) {
  if (guest_ != Guest::kStarting || in.term != guest_term_) return;
  guest_ = Guest::kRunning;
  beat_now_ = true;
  const bool restarted = restarting_;
  guest_lives();
  note(Severity::kInfo, "guest runs", {{"why", why_}});
  emit(action::AnnounceAddress{});
  announced_at_ = now_;
  if (command_)
    answer(command_->id, true,
           restarted ? "the guest was started again"
                     : "took over in term " + std::to_string(term_.raw()) + (command_->start ? ", and started the guest again" : ""));
  command_.reset();
}

void Node::on(const input::GuestFailed& in) {
  if (guest_ != Guest::kStarting || in.term != guest_term_) return;
  if (restarting_) {  // it stays what it was: over
    restarting_ = false;
    guest_ = Guest::kStopped;
    if (command_) answer(command_->id, false, "the guest was not started again: " + in.reason);
    command_.reset();
    return;
  }
  if (command_) answer(command_->id, false, "granted, but the guest did not start: " + in.reason);
  command_.reset();
  fence("the guest could not run here: " + in.reason, false);
}

void Node::on(const input::LoopGap& in) { stood_still(in.length); }

void Node::on(const input::Command& in) {
  switch (in.kind) {
    case CommandKind::kSwitchover:
      return command_switchover(in.id);
    case CommandKind::kTakeover:
      return command_takeover(in.id);
    case CommandKind::kStart:
      return command_start(in.id);
    case CommandKind::kHold:
    case CommandKind::kRelease:
      return command_hold(in);
    case CommandKind::kFailback:
      return command_failback(in.id);
    case CommandKind::kUnprotect:
      return command_unprotect(in);
    case CommandKind::kProtect:
      return command_protect(in.id);
    case CommandKind::kFence:
      return command_fence(in);
    case CommandKind::kUnfence:
      return command_unfence(in.id);
    case CommandKind::kGrant:
      return command_grant(in.id);
  }
}

void Node::stood_still(Duration gap) {
  note(Severity::kWarning, "loop stood still", {{"ms", std::to_string(to_ms(gap))}});
  // Nothing could be heard meanwhile: that is no silence of the others.
  peer_.forgive(gap, now_);
  acked_at_ = std::min(acked_at_ + gap, now_);
  progress_at_ = std::min(progress_at_ + gap, now_);
  session_down_at_ = std::min(session_down_at_ + gap, now_);
  sick_since_.reset();
  promised_since_.reset();
  broken_at_.reset();
  beat_now_ = true;
  if (taking_over() && stage_ == Stage::kReading && !command_) drop_goal();
  if (runs_guest() || applying_) {
    confirmation_ = Confirmation{AskId{(asks_ + 1) * 2}, heartbeat_sequence_ + 1};
    sync_gate();
    ask_at_ = now_;
  }
}

void Node::confirmed() {
  confirmation_.reset();
  note(Severity::kInfo, "term confirmed after a gap");
}

// Another node holds a newer term: whatever this one did not get out is not to leave any more.
void Node::superseded(const std::string& why, Term term, bool eligible) {
  // The guest stands at an epoch that the new primary started from: the image is whole.
  const bool image_kept = config_.switchover_keeps_image && guest_ == Guest::kPaused && eligible;
  if (handover_) handover_over(handover_->offer.has_value(), why);
  if (!image_kept) return fence(why);
  follow(term);
  become_secondary(why, true);
}

void Node::become_secondary(std::string why, bool keep_image) {
  role_ = Role::kSecondary;
  why_ = std::move(why);
  image_whole_ = keep_image;
  forget_guest();
  session_ = {};
  image_source_ = Incarnation{};
  protecting_ = Protecting::kNo;
  confirmation_.reset();
  applying_.reset();
  drop_goal();
  sync_gate();
  emit(action::AcceptSessions{std::max(promise_, stored_term_), keep_image});
  peer_.start_watching(now_);
  progress_at_ = now_;
  beat_now_ = true;
  note(Severity::kInfo, "is secondary", {{"why", why_}});
}

void Node::fence(std::string why, bool may_rejoin) {
  const bool was_secondary = role_ == Role::kSecondary;
  role_ = Role::kFenced;
  why_ = std::move(why);
  sync_gate();
  if (guest_ != Guest::kNone) {
    machine_spent_ = true;
    emit(action::StopGuest{why_});
  }
  forget_guest();
  if (session_.started) emit(action::StopSession{});
  if (was_secondary) emit(action::RefuseSessions{});
  if (handover_) handover_over(false, why_);
  if (command_) answer(command_->id, false, why_);
  command_.reset();
  session_ = {};
  image_whole_ = false;
  protecting_ = Protecting::kNo;
  confirmation_.reset();
  applying_.reset();
  drop_goal();
  fenced_at_ = now_;
  may_rejoin_ = may_rejoin;
  beat_now_ = true;
  note(Severity::kWarning, "is fenced", {{"why", why_}});
}

void Node::answer(CommandId id, bool ok, std::string sentence) { emit(action::CommandResult{id, ok, std::move(sentence)}); }

void Node::evaluate() {
  evaluate_orders();
  switch (role_) {
    case Role::kStarting:
      evaluate_starting();
      break;
    case Role::kPrimary:
    case Role::kSolo:
      evaluate_holder();
      break;
    case Role::kSecondary:
      evaluate_secondary();
      break;
    case Role::kFenced:
      if (may_rejoin_ && config_.rejoin_after && now_ - fenced_at_ >= *config_.rejoin_after) {
        may_rejoin_ = false;
        emit(action::Rejoin{why_});
      }
      break;
  }
  if (store_failed_ && now_ - *store_failed_ >= config_.store_retry) {
    store_failed_.reset();
    if (promising_ > promise_) emit(action::PersistPromise{promising_});
    if (storing_term_ > stored_term_) emit(action::PersistTerm{storing_term_, applying_.has_value()});
    if (orders_asked_ > orders_stored_) emit(action::PersistOrders{orders_asked_, orders_});
  }
  ask_when_due();
  evaluate_fitness();
  sync_gate();
  if (beat_now_ || now_ >= next_heartbeat_at_) beat();
}

action::SetGate Node::desired_gate() const {
  if (!runs_guest()) return {};
  if (confirmation_ || fenced_itself()) return {.mode = GateMode::kHold, .term = term_};
  if (role_ == Role::kPrimary) return {.mode = GateMode::kPair, .term = term_, .peer = eligible_peer().incarnation};
  if (protecting_ != Protecting::kNo) return {.mode = GateMode::kPair, .term = term_, .peer = protecting_peer_};
  return {.mode = GateMode::kSolo, .term = term_};
}

void Node::sync_gate() {
  action::SetGate desired = desired_gate();
  if (desired.mode == gate_.mode && desired.term == gate_.term && desired.peer == gate_.peer) return;
  desired.order = ++gate_orders_;
  gate_ = desired;
  emit(desired);
}

void Node::beat() {
  beat_now_ = false;
  next_heartbeat_at_ = now_ + config_.heartbeat_every;
  Heartbeat beat;
  beat.sender = self_;
  beat.sequence = ++heartbeat_sequence_;
  beat.echo_incarnation = peer_.heard().incarnation;
  beat.echo_sequence = peer_.heard().sequence;
  beat.role = role_;
  beat.term = term_;
  beat.promise = promise_;
  beat.has_history = has_history_;
  beat.image_whole = image_whole_;
  beat.committed = committed_;
  if (runs_guest()) beat.eligible_peer = eligible_peer().incarnation;
  beat.guest_stopped = runs_guest() && end_settled_;
  if (runs_guest()) beat.guest = told_of_guest();
  if (handover_) beat.handover = handover_->offer;
  beat.refusal = refusal_;
  beat.evidence = own_evidence();
  beat.just_moved = just_moved();
  beat.hold = orders_.hold;
  if (hold_ends_at_) beat.hold_ends_in = std::max(*hold_ends_at_ - now_, Duration{});
  beat.wants_no_peer = runs_guest() && wants_no_peer_;
  peer_.note_sent(beat.sequence, now_);
  emit(action::SendHeartbeat{std::move(beat)});
}

const std::vector<PathEvidence>& Node::own_evidence() const {
  own_.resize(config_.probes.size() + (broken_ ? 1 : 0));
  auto evidence = own_.begin();
  for (const ProbePath path : config_.probes) {
    const auto& latest = probed_[static_cast<std::size_t>(path)];
    evidence->path = path;
    evidence->health = latest ? latest->health : Health::kUnknown;
    evidence->age = now_ - (latest ? latest->completed_at : started_at_);
    evidence->text = latest ? latest->text : std::string{};
    evidence->suspected = latest && latest->suspected;
    evidence->beyond = latest && latest->beyond;
    ++evidence;
  }
  if (broken_) *evidence = {ProbePath::kMachine, Health::kFailed, Duration{}, *broken_};
  return own_;
}

Verdict Node::verdict_on_self() const {
  Observation observation{.evidence = own_evidence()};
  if (peer_heard()) observation.other = peer_.last().evidence;
  return judge(observation, limits());
}

Verdict Node::verdict_on_peer() const {
  Observation observation{.since_sign_of_life = now_ - peer_.alive_at()};
  if (role_ == Role::kSecondary && image_whole_ && !(peer_.known() && peer_.last().handover))
    observation.since_progress = now_ - progress_at_;
  // With the ages it was sent with: a heartbeat that does not come is silence, not a failed path.
  if (peer_.known()) observation.evidence = peer_.last().evidence;
  const std::vector<PathEvidence>& own = own_evidence();
  observation.other = own;
  // What arrives damaged left that host, or passed what lies between: either way it is told of the peer as well.
  std::vector<PathEvidence> seen;
  std::ranges::copy_if(own, std::back_inserter(seen),
                       [](const PathEvidence& path) { return path.path == ProbePath::kReceive && path.health == Health::kDegraded; });
  observation.seen = seen;
  return judge(observation, limits());
}

NodeIncarnation Node::eligible_peer() const {
  if (record_)
    for (const NodeIncarnation& node : record_->eligible)
      if (node.node != config_.node) return node;
  return {peer_of(config_.node), Incarnation{}};
}

void Node::note(Severity severity, std::string event, std::vector<std::pair<std::string, std::string>> fields) {
  emit(action::LogEvent{severity, std::move(event), std::move(fields)});
}

void Node::mark(action::Milestone milestone, std::string text) { emit(action::Timeline{milestone, now_, std::move(text)}); }

NodeStanding Node::standing() const {
  return {.role = role_,
          .term = term_,
          .guest_runs = guest_ == Guest::kRunning,
          .is_protected = role_ == Role::kPrimary && session_.up && session_.whole && session_.peer == eligible_peer() &&
                          (guest_ == Guest::kRunning || (guest_ == Guest::kStopped && !broken_)),
          .image_whole = image_whole_,
          .end_settled = runs_guest() ? end_settled_ : !ended_.empty(),
          .kept_out = !orders_.fenced.empty()};
}

NodeStatus Node::status() const {
  NodeStatus status;
  static_cast<NodeStanding&>(status) = standing();
  status.self = self_;
  status.promise = promise_;
  status.record = record_;
  status.eligible = role_ == Role::kSecondary && image_whole_ &&
                    ((record_ && record_->term >= term_ && eligible_by(*record_)) ||
                     (peer_.known() && peer_.last().term >= term_ && peer_.last().eligible_peer == self_.incarnation));
  if (fenced_itself()) status.unfit = reason_to_be_unfit();
  status.holds_output = runs_guest() && (confirmation_ || fenced_itself() || (gate_.mode == GateMode::kPair && !session_.up));
  status.arbiter_answers = !unanswered_since_ || now_ - *unanswered_since_ < 3 * config_.arbiter_retry;
  status.ended = ended_;
  status.guest_note = runs_guest() ? told_of_guest() : peer_.known() ? peer_.last().guest : "";
  status.why = why_;
  status.committed = committed_;
  status.since_commit = now_ - (runs_guest() ? acked_at_ : progress_at_);
  status.gate = gate_.mode;
  status.peer_silence = now_ - peer_.alive_at();
  status.verdict_on_self = verdict_on_self();
  status.hold = orders_.hold;
  if (hold_ends_at_) status.hold_ends_in = std::max(*hold_ends_at_ - now_, Duration{});
  status.peer_knows_hold = peer_knows_hold();
  status.fenced_by_order = orders_.fenced;
  status.wants_no_peer = runs_guest() ? wants_no_peer_ : peer_.known() && peer_.last().wants_no_peer;
  if (!peer_.known()) return status;
  status.peer_heard = peer_heard();
  status.peer_role = peer_.last().role;
  status.peer_image_whole = peer_.last().image_whole;
  status.peer_incarnation = peer_.incarnation();
  status.peer_term = peer_.last().term;
  status.verdict_on_peer = verdict_on_peer();
  return status;
}

}  // namespace understudy
