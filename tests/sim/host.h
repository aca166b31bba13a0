// One simulated host: the real node, with its actions carried out on models of store, guest, gate, probes and session.
//
// A process can be killed (memory gone, unsynced writes perhaps gone) and stopped (everything that arrives waits, and then comes at once).
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "failover/node.h"
#include "tests/sim/engine.h"
#include "tests/sim/network.h"
#include "tests/sim/options.h"
#include "tests/sim/oracle.h"
#include "tests/sim/witness.h"

namespace understudy::sim {

// What both ends of the modelled session say to each other.
struct SessionMessage {
  enum class Kind : std::uint8_t { kHello, kWelcome, kRefuse, kOverwrite, kEpoch, kAck } kind = Kind::kHello;
  Session session;
  Term term;
  Incarnation sender;
  Incarnation receiver;
  Epoch epoch;
  GuestImage image;   // kEpoch; kWelcome: what the secondary holds
  bool full = false;  // kEpoch: the first of a full transfer
  Epoch previous;     // kEpoch: builds on this one
};

class Host {
 public:
  Host(NodeId id, const NodeConfig& config, const Options& options, Engine& engine, Network& network, Witness& witness, Oracle& oracle);

  void connect(Host& peer) { peer_ = &peer; }
  void start();
  void kill();
  bool up() const { return node_ != nullptr; }
  void freeze(Duration length);
  bool frozen() const { return frozen_; }
  void set_path(ProbePath path, bool works);
  void set_store(bool works) { store_works_ = works; }
  void break_session();
  void command(CommandKind kind);
  void fail_next_restore(bool fails) { restore_fails_ = fails; }

  NodeStatus status() const { return node_->status(); }
  NodeIncarnation self() const { return {id_, incarnation_}; }
  bool guest_exists() const { return guest_.exists; }
  bool holds_image() const { return image_whole_; }
  std::size_t unanswered_commands() const { return commands_.size(); }
  std::string describe() const;

 private:
  struct Guest {
    bool exists = false;
    bool running = false;
    std::shared_ptr<History> history = std::make_shared<History>();
  };
  struct Outgoing {  // as primary
    bool active = false;
    bool up = false;
    Session session;
    Term term;
    Incarnation peer;
    bool based = false;
    Epoch base;      // the first epoch comes after it
    Epoch peer_has;  // what the first epoch builds on, without a full transfer
    Epoch sent;
    Epoch acked;
    std::deque<GuestImage> unacked;
    Instant acked_at;
    Instant full_until;  // the first transfer takes a while
    bool full = true;
    bool overwritten = false;
  };
  struct Incoming {  // as secondary
    bool accepting = false;
    Term floor;
    Session session;
    Term term;
    Epoch newest;              // committed in it
    bool overwriting = false;  // a full transfer has begun, and not ended
  };

  void feed(Input input);
  void act(const Action& action);
  void receive(std::function<void()> message);
  void timer(Duration delay, std::function<void()> event);
  void trace(const std::string& text) const;

  void carry_out(const action::ReadArbiter& action);
  void carry_out(const action::Propose& action);
  void carry_out(const action::PersistPromise& action);
  void carry_out(const action::PersistTerm& action);
  void carry_out(const action::SendHeartbeat& action);
  void carry_out(const action::BootGuest& action);
  void carry_out(const action::TakeOver& action);
  void carry_out(const action::FinishGuest& action);
  void carry_out(const action::ResumeGuest& action);
  void carry_out(const action::StopGuest& action);
  void carry_out(const action::StartSession& action);
  void carry_out(const action::RaiseSessionTerm& action);
  void carry_out(const action::StopSession& action);
  void carry_out(const action::AcceptSessions& action);
  void carry_out(const action::RefuseSessions& action);
  void carry_out(const action::SetGate& action);
  void carry_out(const action::AnnounceAddress&) {}
  void carry_out(const action::Rejoin& action);
  void carry_out(const action::CommandResult& action);
  void carry_out(const action::LogEvent& action);
  void carry_out(const action::Timeline& action);

  void ask_witness(AskId ask, std::function<std::optional<ArbiterAnswer>()> question);
  void persist(Term& stored, Term value, bool lie, Input done);

  // Session and gate (host_session.cpp).
  void send(SessionMessage message);
  void receive_session(const SessionMessage& message);
  void on_welcome(const SessionMessage& message);
  void on_hello(const SessionMessage& message);
  void overwrite();
  void on_epoch(const SessionMessage& message);
  void on_ack(const SessionMessage& message);
  void epoch_turn();
  void capture();
  void send_epoch(Epoch epoch, const GuestImage& image);
  void resend();
  void emit_output();
  void release(const OutputFrame& frame);
  void open_gate_to(Epoch epoch);
  void finish_guest_when_committed(Instant deadline);

  void tick();
  void probe(ProbePath path);

  const NodeId id_;
  NodeConfig config_;
  const Options& options_;
  Engine& engine_;
  Network& network_;
  Witness& witness_;
  Oracle& oracle_;
  Host* peer_ = nullptr;
  const Place place_;
  const Place peer_place_;

  // On stable storage.
  Term stored_term_;
  Term stored_promise_;
  EpochPosition stored_committed_;
  bool store_works_ = true;

  // Gone with the process.
  std::unique_ptr<Node> node_;
  Incarnation incarnation_;
  std::uint64_t process_ = 0;
  Guest guest_;
  Outgoing out_;
  Incoming in_;
  GuestImage image_;
  EpochPosition final_epoch_;
  bool image_whole_ = false;
  std::uint64_t starts_ = 0;  // orders to start the guest; a stop voids the latest
  action::SetGate gate_;
  std::deque<OutputFrame> gate_queue_;
  Epoch open_epoch_{1};
  std::vector<CommandId> commands_;
  bool frozen_ = false;
  std::vector<std::function<void()>> backlog_;
  bool restore_fails_ = false;

  // The world.
  std::array<bool, kProbePathCount> path_works_{true, true};
  std::array<Instant, kProbePathCount> path_failed_at_{};
  std::uint64_t next_command_ = 1;
  RequestId solo_asked_;
};

}  // namespace understudy::sim
