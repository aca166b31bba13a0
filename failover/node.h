// One host's part of a pair, as a pure state machine: who may run the guest, and what is done about a failure.
//
// Facts go in with the time they became known, actions come out; the node reads no clock, touches no file and sends nothing itself.
// Safety never rests on the time: thresholds only choose when to ask the arbiter, whose record decides. See failover/README.md.
//
// Threading: none; owned by one loop.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "failover/node_io.h"
#include "failover/peer_view.h"
#include "failover/petition.h"
#include "failover/verdict.h"

namespace understudy {

// What becomes of the other host when this node takes the guest over. No safety rests on it: it makes a sick host stop early.
enum class Fencing : std::uint8_t {
  kNone,
  kAlongside,  // it is switched off while the guest is started here
  kRequired,   // the guest is started once it is known that the other host does not run it
};

struct NodeConfig {
  NodeId node = NodeId::kA;
  bool starts_as_primary = false;  // who boots the guest when the pair is new
  bool alone = false;              // boot a new pair's guest without asking the peer whether it has a history
  std::vector<ProbePath> probes;   // which paths are probed here; solo needs each healthy

  Duration heartbeat_every = std::chrono::milliseconds{50};
  Duration takeover_after = std::chrono::milliseconds{400};  // secondary: the primary is silent for so long
  Duration solo_after = std::chrono::milliseconds{250};      // primary: the secondary is silent for so long
  Duration stalled_after = std::chrono::milliseconds{1500};  // secondary: heartbeats come, but no epoch commits for so long
  Duration sick_hold = std::chrono::milliseconds{150};       // secondary: a failed path is reported for so long
  Duration evidence_max_age = std::chrono::milliseconds{700};
  Duration storage_max_age = std::chrono::milliseconds{1600};  // the same of storage
  // Primary without its peer, and with a path that it suspects: the peer, if it lives and is well, is left so long to ask first.
  Duration doubt_hold = std::chrono::milliseconds{1600};
  Duration hold_down = std::chrono::seconds{10};  // after a move: none back for a failed path or a lack of progress, only for silence
  Duration arbiter_retry = std::chrono::milliseconds{100};  // repeats an unanswered request to the arbiter
  Duration store_retry = std::chrono::milliseconds{500};
  Duration session_retry = std::chrono::milliseconds{300};  // between a session's break and the next one
  Duration gap_after = std::chrono::milliseconds{250};      // two steps further apart than this: the loop stood still
  Duration handover_deadline = std::chrono::seconds{3};     // switchover: from the pause to the peer's grant; then the guest goes on here
  // After a switchover the old primary keeps its image and is protected at once. Needs sessions that start from a base epoch; without, the
  // new primary goes solo and the old one rejoins empty.
  bool switchover_keeps_image = false;
  Duration broken_again_within = std::chrono::minutes{10};  // KVM gave up on the other host, and now here: not the host's fault
  std::optional<NodeId> home;                               // where the guest belongs while both nodes are well; nullopt: anywhere
  // No third place: the arbiter's record is this node's own, so it can't say what the other one was granted. Nothing that could make both
  // nodes holders is asked for then but on an operator's word (kGrant).
  bool manual = false;
  Fencing fencing = Fencing::kNone;
  // A holder that is sick itself, or holds its output without being granted to go on alone, for so long lets nothing out any more until it
  // is well, and says that it is unfit; nullopt: it does neither.
  std::optional<Duration> self_fence_after;
  Duration fence_retry = std::chrono::seconds{5};     // kRequired: an agent that failed is tried again so long after
  Duration order_patience = std::chrono::seconds{3};  // an operator is told within this what became of an order to both nodes
  std::optional<Duration> rejoin_after;               // a fenced node starts over so long after; nullopt: an operator restarts it
};

// Where a node stands: what is there without judging or telling anything.
struct NodeStanding {
  Role role = Role::kStarting;
  Term term;
  bool guest_runs = false;
  bool is_protected = false;  // primary: the peer is eligible, its session is up and its image whole
  bool image_whole = false;   // secondary
  bool end_settled = false;   // the guest ended by itself, and nobody can revive it any more, whatever fails
  bool kept_out = false;      // an operator fenced it
};

// Everything an operator asks of a node's decisions. The daemon adds numbers of session, gate and machine.
struct NodeStatus : NodeStanding {
  NodeIncarnation self;
  Term promise;
  std::optional<ArbiterRecord> record;  // as last seen
  bool eligible = false;                // secondary: may be granted the next term, as far as this node knows
  bool holds_output = false;            // primary or solo: output waits for more than its epoch's commit
  bool arbiter_answers = true;          // the latest request was answered
  std::string ended;                    // not empty: how the guest ended by itself, and what is to be done to start it again
  std::string guest_note;               // what else there is to tell of the guest, here or at the peer
  std::string unfit;                    // not empty: why this node fenced itself, and its watchdog is not to be petted
  std::string why;                      // one sentence: the reason for the role, or what the node waits for
  Hold hold;                            // as far as this node knows
  std::optional<Duration> hold_ends_in;
  bool peer_knows_hold = false;  // it says the same
  bool wants_no_peer = false;    // the holder runs alone by an operator's order, here or at the peer
  std::string fenced_by_order;   // not empty: an operator keeps this node from running the guest
  EpochPosition committed;
  GateMode gate = GateMode::kMute;

  Duration since_commit{};  // holder: since the peer's latest ack; secondary: since its latest committed epoch
  bool peer_heard = false;  // a fresh heartbeat within takeover_after
  bool peer_image_whole = false;
  Role peer_role = Role::kStarting;
  Incarnation peer_incarnation;
  Term peer_term;
  Duration peer_silence{};
  Verdict verdict_on_self;
  Verdict verdict_on_peer;
};

class Node {
 public:
  explicit Node(NodeConfig config);

  // Takes one fact; returns what is to be done, in order. `now` never goes back. The first input is Started.
  std::vector<Action> step(Instant now, const Input& input);

  // Both as of the latest step.
  NodeStanding standing() const;
  NodeStatus status() const;
  const NodeConfig& config() const { return config_; }

  // All that decides how the node goes on, field by field: see node_state.h, which defines it.
  template <class Visitor>
  void visit_state(Visitor&& visit) const;

  // The whole node as bytes, and a node that goes on exactly as the saved one: for replays (flight_recorder.h), read by the code that wrote
  // them. kCorrupt when they are not whole. node_image.cpp lists every field; a new one belongs there.
  std::vector<std::byte> save() const;
  static Result<Node> restore(std::span<const std::byte> image);

 private:
  // What the node wants of the arbiter. Beyond kRead, a goal whose proposal was sent is pursued until the record settles it.
  enum class Goal : std::uint8_t { kNone, kRead, kBootstrap, kTakeover, kSwitchover, kSolo, kReprotect, kRenew, kLast = kRenew };
  // Takeovers go through all three; a holder's goals start at the proposal, made on the record it knows.
  enum class Stage : std::uint8_t { kReading, kPromising, kProposing, kLast = kProposing };
  enum class Guest : std::uint8_t { kNone, kStarting, kRunning, kFinishing, kPaused, kStopped, kLast = kStopped };
  // From solo to protected: the gate waits for acks first; what left before must be covered by a committed epoch; then ask.
  enum class Protecting : std::uint8_t { kNo, kGate, kCatchUp, kAsked, kLast = kAsked };

  struct SessionState {
    bool started = false;  // primary: StartSession was given and not ended
    bool up = false;
    bool whole = false;  // the peer has committed an epoch in it
    Session id{};
    NodeIncarnation peer{};
    Epoch committed{};
    friend void transfer(auto& archive, SessionState& x) { archive(x.started, x.up, x.whole, x.id, x.peer, x.committed); }
  };
  struct Handover {  // as primary, while an operator's switchover is under way
    CommandId command{};
    bool checking = true;  // waits for the arbiter to answer before the guest is paused
    std::optional<HandoverOffer> offer{};
    std::uint64_t offered_from = 0;  // the heartbeat that first carried the offer
    Instant deadline{};
    friend void transfer(auto& archive, Handover& x) { archive(x.command, x.checking, x.offer, x.offered_from, x.deadline); }
  };
  struct Confirmation {
    AskId from;
    std::uint64_t heartbeat_from = 0;
    friend void transfer(auto& archive, Confirmation& x) { archive(x.from, x.heartbeat_from); }
  };
  // An order of an operator's that is being carried out; one at a time. A hold or release waits for the store and the peer, a fence for the
  // handover and then the store, an unprotect for solo.
  struct PendingOrder {
    CommandId id{};
    CommandKind kind = CommandKind::kHold;
    std::uint64_t stored_by = 0;  // the order to the store that holds it; 0: none yet. kGrant: the term that is to be left behind
    Instant deadline{};
    std::string by{};
    friend void transfer(auto& archive, PendingOrder& x) { archive(x.id, x.kind, x.stored_by, x.deadline, x.by); }
  };
  struct PendingCommand {  // a takeover, as secondary; a start, also as holder
    CommandId id;
    Instant deadline;
    bool start = false;
    friend void transfer(auto& archive, PendingCommand& x) { archive(x.id, x.deadline, x.start); }
  };

  // node.cpp: dispatch and observation
  void on(const input::Started& in);
  void on(const input::Tick&) {}
  void on(const input::HeartbeatReceived& in);
  void on(const input::PeerConnection& in);
  void on(const input::SessionUp& in);
  void on(const input::ImageOverwritten& in);
  void on(const input::EpochCommitted& in);
  void on(const input::SessionActivity& in);
  void on(const input::SessionBroken& in);
  void on(const input::SessionRefused& in);
  void on(const input::Probed& in);
  void on(const input::GateSet& in);
  void on(const input::GuestRunning& in);
  void on(const input::GuestFailed& in);
  void on(const input::LoopGap& in);
  void on(const input::Command& in);
  void stood_still(Duration gap);
  void evaluate();
  void beat();
  void sync_gate();
  action::SetGate desired_gate() const;
  void confirmed();
  void superseded(const std::string& why, Term term, bool eligible);
  void become_secondary(std::string why, bool keep_image = false);
  void fence(std::string why, bool may_rejoin = true);
  void answer(CommandId id, bool ok, std::string sentence);
  // Good until the next call: in the same memory each time, since each step asks for it again and again.
  const std::vector<PathEvidence>& own_evidence() const;
  // A sign of life within takeover_after.
  bool peer_heard() const { return peer_.known() && now_ - peer_.alive_at() <= config_.takeover_after; }
  bool peer_holds() const { return peer_heard() && (peer_.last().role == Role::kPrimary || peer_.last().role == Role::kSolo); }
  Verdict verdict_on_self() const;
  Verdict verdict_on_peer() const;
  VerdictLimits limits() const {
    return {config_.takeover_after, config_.stalled_after, config_.evidence_max_age, config_.storage_max_age};
  }
  bool just_moved() const { return runs_guest() && moved_at_ && now_ - *moved_at_ < config_.hold_down; }

  // node_arbiter.cpp: asking, learning, applying
  void on(const input::ArbiterAnswered& in);
  void on(const input::ArbiterFailed& in);
  void on(const input::PromisePersisted& in);
  void on(const input::TermPersisted& in);
  void on(const input::StoreFailed& in);
  void pursue(Goal goal, Term at_least = Term{});
  void drop_goal();
  void ask();
  void ask_when_due();
  void propose();
  void learn(const ArbiterRecord& record);
  void begin(const ArbiterRecord& record);
  void apply_later(const ArbiterRecord& record);
  void apply();
  void confirm_by(AskId ask, const ArbiterRecord& record);
  void go_on_reading(const ArbiterRecord& record);
  void follow(Term term);
  NodeIncarnation heard_peer() const { return {peer_of(config_.node), peer_.incarnation()}; }
  bool eligible_by(const ArbiterRecord& record) const;

  // node_holder.cpp: starting, primary and solo
  void evaluate_starting();
  void evaluate_holder();
  void evaluate_primary();
  void evaluate_whole_pair();
  void evaluate_solo();
  void protect();
  void evaluate_handover();
  void abandon_handover(const std::string& reason);
  void on(const input::HandoverFinished& in);
  void on(const input::HandoverFailed& in);
  std::string reason_not_to_switch_over() const;
  void begin_handover(CommandId command);
  void command_switchover(CommandId id);
  void start_session(std::optional<EpochPosition> base);
  void stop_session();
  void session_over();
  bool peer_lost_its_image() const;  // the eligible peer, for a primary
  std::string reason_to_drop_peer() const;
  // How far this host's paths allow it to go on alone, by evidence from after `instant`.
  enum class Fitness : std::uint8_t { kUnproven, kDoubtful, kProven };
  Fitness fitness_since(Instant instant) const;

  // node_guest.cpp: a guest that ends by itself
  void on(const input::GuestStopped& in);
  void on(const input::GuestBroken& in);
  void on(const input::GuestNoted& in);
  void end_committed(const std::string& ended);
  void evaluate_end();
  void evaluate_broken();
  void remember_end(const std::string& ended);
  void guest_lives();
  void forget_guest();
  void command_start(CommandId id);
  std::string told_of_guest() const;

  // node_orders.cpp: what an operator orders for longer than a moment
  void on(const input::OrdersPersisted& in);
  void command_hold(const input::Command& in);
  void command_failback(CommandId id);
  void command_unprotect(const input::Command& in);
  void command_protect(CommandId id);
  void command_fence(const input::Command& in);
  void command_unfence(CommandId id);
  void command_grant(CommandId id);
  bool may_ask_alone() const;
  bool operator_granted() const { return ordering_ && ordering_->kind == CommandKind::kGrant; }
  std::string reason_not_to_fence() const;
  void set_hold(Hold hold, std::optional<Duration> ends_in);
  void hear_hold();
  void evaluate_orders();
  void evaluate_fence();
  void order_done(bool ok, std::string sentence);
  void persist_orders();
  void handover_over(bool ok, const std::string& sentence);
  bool peer_knows_hold() const;
  // Whether anything but an operator may make the other node this pair's holder.
  bool moves_by_itself() const { return !orders_.hold.held && !config_.manual; }

  // node_fencing.cpp: the other host, switched off
  void on(const input::PeerFenced& in);
  void on(const input::Poisoned& in);
  bool fence_peer_first();
  void evaluate_fencing();
  void peer_is_fenced(const std::string& how);
  std::string reason_to_be_unfit() const;
  void evaluate_fitness();
  bool fenced_itself() const { return config_.self_fence_after && unfit_since_ && now_ - *unfit_since_ >= *config_.self_fence_after; }
  bool waits_for_fencing() const { return fencing_for_ != Term{} && fenced_for_ < fencing_for_; }

  // node_secondary.cpp: detection and takeover
  void evaluate_secondary();
  void consider_handover();
  std::string reason_not_to_take_over() const;
  void command_takeover(CommandId id);
  std::optional<std::string> reason_to_take_over();
  std::string held_back(const Verdict& verdict) const;  // why a sick primary keeps the guest; empty: it does not
  void begin_candidacy(Goal goal, const std::string& why);
  void candidacy_failed(const std::string& why);

  // node_image.cpp
  template <class Archive>
  void transfer_fields(Archive& archive);

  template <class T>
  void emit(T action) {
    out_.emplace_back(std::move(action));
  }
  void note(Severity severity, std::string event, std::vector<std::pair<std::string, std::string>> fields = {});
  void mark(action::Milestone milestone, std::string text = {});
  bool runs_guest() const { return role_ == Role::kPrimary || role_ == Role::kSolo; }
  bool taking_over() const { return goal_ == Goal::kTakeover || goal_ == Goal::kSwitchover; }
  NodeIncarnation eligible_peer() const;  // by the record; incarnation 0 when none
  Instant contact_at() const { return std::max(peer_.contact_at(), acked_at_); }

  const NodeConfig config_;
  std::vector<Action> out_;
  Instant now_;
  bool started_ = false;

  // Identity, and what is known to be on stable storage.
  NodeIncarnation self_;
  Term term_;     // acted in, or followed as secondary
  Term promise_;  // on stable storage
  Term stored_term_;
  Term storing_term_;  // asked of the store
  EpochPosition committed_;
  bool has_history_ = false;
  std::string why_;

  Role role_ = Role::kStarting;
  Guest guest_ = Guest::kNone;
  Term guest_term_;  // in which its latest start was ordered
  bool image_whole_ = false;
  Incarnation image_source_;  // of the primary that the image came from
  Instant fenced_at_;
  bool may_rejoin_ = false;

  // The peer and this host.
  PeerView peer_;
  std::uint64_t heartbeat_sequence_ = 0;
  Instant next_heartbeat_at_;
  bool beat_now_ = false;
  std::array<std::optional<ProbeReport>, kProbePathCount> probed_;
  mutable std::vector<PathEvidence> own_;  // made of these, by own_evidence()
  Instant started_at_;
  Instant acked_at_;                       // primary: latest ack
  Instant progress_at_;                    // secondary: latest committed epoch
  std::optional<Instant> sick_since_;      // secondary: the peer reports a failed path
  std::optional<Instant> promised_since_;  // primary: the peer has promised a higher term
  std::optional<Instant> broken_at_;       // primary: the peer must be dropped, noticed then
  Instant announced_at_;
  std::optional<Instant> moved_at_;  // holder: the guest came here from the other node
  std::string refusal_;              // of the handover offered by the peer

  // The arbiter.
  std::optional<ArbiterRecord> record_;
  bool no_record_ = false;  // it answered that it has none
  StoreId store_;
  std::optional<Instant> unanswered_since_;
  Goal goal_ = Goal::kNone;
  Stage stage_ = Stage::kReading;
  Term at_least_;
  Term promising_;
  std::optional<Proposal> proposal_;
  std::uint64_t asks_ = 0;
  std::uint64_t gate_orders_ = 0;
  std::uint64_t requests_ = 0;
  AskId goal_asked_from_;
  Instant ask_at_;
  Instant recheck_at_;
  std::optional<ArbiterRecord> applying_;  // granted; waits for its term to be on stable storage
  Instant store_again_at_;
  std::optional<Instant> store_failed_;
  std::optional<PendingCommand> command_;

  // After a gap: output waits until a round trip that began after it confirms the term.
  std::optional<Confirmation> confirmation_;

  // How the guest ended: here, in the image held, or, before anything else is known, by the store. Empty: it lives.
  std::string ended_;
  bool end_settled_ = false;           // holder: the eligible peer holds the end, or there is none
  std::string stored_end_;             // as last asked of the store
  std::string guest_note_;             // holder
  std::optional<std::string> broken_;  // holder: KVM gave up on the guest
  bool candidate_for_broken_ = false;  // secondary: the reason for the candidacy is that KVM gave up there
  std::optional<Instant> took_over_broken_at_;
  bool restarting_ = false;  // holder: its guest, over, is being started anew

  SessionState session_;
  Instant session_at_;       // the next one not before
  Instant session_down_at_;  // primary: none has been up since
  Protecting protecting_ = Protecting::kNo;
  Incarnation protecting_peer_;
  Epoch open_epoch_;
  action::SetGate gate_;  // as last ordered
  std::optional<Handover> handover_;

  // What operators ordered.
  StandingOrders orders_;
  std::optional<Instant> hold_ends_at_;
  std::uint64_t orders_asked_ = 0;  // of the store
  std::uint64_t orders_stored_ = 0;
  std::optional<PendingOrder> ordering_;
  bool handed_over_ = false;  // the term that is being applied was offered by the peer, whose guest stands
  Term fencing_for_;          // the other host is being switched off for this term; 0: it never was
  Term fenced_for_;           // and it was, for this one
  Instant fence_again_at_ = Instant::max();
  std::optional<Instant> unfit_since_;  // holder
  bool wants_no_peer_ = false;          // holder
  bool machine_spent_ = false;          // a guest ran in this process and was stopped: no image can be held in it any more
  bool joins_again_ = false;            // was fenced by an order, and no more
};

}  // namespace understudy
