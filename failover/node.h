// One host's part of a pair, as a pure state machine: who may run the guest, and what is done about a failure.
//
// Facts go in with the time they became known, actions come out; the node reads no clock, touches no file and sends nothing itself.
// Safety never rests on the time: thresholds only choose when to ask the arbiter, whose record decides. See failover/README.md.
//
// Threading: none; owned by one loop.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "failover/node_io.h"
#include "failover/peer_view.h"
#include "failover/petition.h"
#include "failover/verdict.h"

namespace understudy {

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
  Duration arbiter_retry = std::chrono::milliseconds{100};  // repeats an unanswered request to the arbiter
  Duration store_retry = std::chrono::milliseconds{500};
  Duration session_retry = std::chrono::milliseconds{300};  // between a session's break and the next one
  Duration gap_after = std::chrono::milliseconds{250};      // two steps further apart than this: the loop stood still
  Duration handover_deadline = std::chrono::seconds{3};     // switchover: from the pause to the peer's grant; then the guest goes on here
  // After a switchover the old primary keeps its image and is protected at once. Needs sessions that start from a base epoch; without, the
  // new primary goes solo and the old one rejoins empty.
  bool switchover_keeps_image = false;
  std::optional<Duration> rejoin_after;  // a fenced node starts over so long after; nullopt: an operator restarts it
};

// Everything an operator asks of a node's decisions. The daemon adds numbers of session, gate and machine.
struct NodeStatus {
  Role role = Role::kStarting;
  NodeIncarnation self;
  Term term;
  Term promise;
  std::optional<ArbiterRecord> record;  // as last seen
  bool guest_runs = false;
  bool is_protected = false;    // primary: the peer is eligible, its session is up and its image whole
  bool image_whole = false;     // secondary
  bool eligible = false;        // secondary: may be granted the next term, as far as this node knows
  bool holds_output = false;    // primary or solo: output waits for more than its epoch's commit
  bool arbiter_answers = true;  // the latest request was answered
  std::string why;              // one sentence: the reason for the role, or what the node waits for
  EpochPosition committed;
  GateMode gate = GateMode::kMute;

  bool peer_heard = false;  // a fresh heartbeat within takeover_after
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

  // As of the latest step.
  const NodeStatus& status() const { return status_; }
  const NodeConfig& config() const { return config_; }

 private:
  // What the node wants of the arbiter. Beyond kRead, a goal is pursued until the record settles it: a proposal once sent may still be
  // granted as long as the record stands at the term it was made on.
  enum class Goal : std::uint8_t { kNone, kRead, kBootstrap, kTakeover, kSwitchover, kSolo, kReprotect, kRenew };
  enum class Guest : std::uint8_t { kNone, kStarting, kRunning, kPausing, kPaused, kStopped };
  // The way from solo to protected: the gate waits for acks first; what left before must be covered by a committed epoch; then ask.
  enum class Protecting : std::uint8_t { kNo, kGate, kCatchUp, kAsked };

  struct Sessions {
    bool started = false;  // primary: StartSession was given and not ended
    bool up = false;
    bool whole = false;
    Session id;
    Incarnation peer;
    Epoch committed;
    Instant retry_at;
  };
  struct Handover {
    std::optional<CommandId> command;
    bool checking = false;  // waits for the arbiter's answer before the guest is paused
    std::optional<HandoverOffer> offer;
    Instant deadline;
  };

  // node.cpp: dispatch, observation, heartbeats.
  void on(const input::Started& in);
  void on(const input::Tick& in);
  void on(const input::HeartbeatReceived& in);
  void on(const input::PeerConnection& in);
  void on(const input::SessionUp& in);
  void on(const input::ImageOverwritten& in);
  void on(const input::EpochCommitted& in);
  void on(const input::SessionActivity& in);
  void on(const input::SessionBroken& in);
  void on(const input::SessionRefused& in);
  void on(const input::Probed& in);
  void on(const input::ArbiterAnswered& in);
  void on(const input::ArbiterFailed& in);
  void on(const input::PromisePersisted& in);
  void on(const input::TermPersisted& in);
  void on(const input::StoreFailed& in);
  void on(const input::GateSet& in);
  void on(const input::GuestRunning& in);
  void on(const input::GuestFailed& in);
  void on(const input::HandoverFinished& in);
  void on(const input::HandoverFailed& in);
  void on(const input::LoopGap& in);
  void on(const input::Command& in);
  void on(const input::GuestStopped& in);

  template <class T>
  void emit(T&& action) {
    out_.emplace_back(std::forward<T>(action));
  }
  bool runs_guest() const { return role_ == Role::kPrimary || role_ == Role::kSolo; }
  NodeIncarnation peer_incarnation() const { return {peer_of(config_.node), peer_.incarnation()}; }

  NodeConfig config_;
  NodeStatus status_;
  Instant now_;
  std::vector<Action> out_;
  Role role_ = Role::kStarting;
  PeerView peer_;
};

}  // namespace understudy
