// Runs the node's state machine on its loop: turns the world into inputs, and carries the actions out.
//
// Loop-owned. Nothing here waits: the guest's side, the store and the probes have threads or processes of their own.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>

#include "failover/daemon/config.h"
#include "failover/daemon/flight_thread.h"
#include "failover/daemon/guest_host.h"
#include "failover/daemon/operator_socket.h"
#include "failover/daemon/store_thread.h"
#include "failover/daemon/timeline.h"
#include "failover/evidence.h"
#include "failover/fence_agent.h"
#include "failover/manual_arbiter.h"
#include "failover/node.h"
#include "failover/poison_pill.h"
#include "net/base/event_loop.h"
#include "net/link.h"

namespace understudy {

class NodeRunner {
 public:
  static constexpr Duration kTick = std::chrono::milliseconds{10};

  struct Dependencies {
    const DaemonConfig& config;  // outlives the runner, as do all of these
    EventLoop& loop;
    Link& heartbeats;
    std::function<LinkNumbers()> heartbeat_numbers = [] { return LinkNumbers{}; };  // of their link
    Arbiter& arbiter;
    ManualArbiter* manual = nullptr;  // the arbiter, where it is this node's own record
    StoreThread& store;
    GuestHost& guest;
    Timeline& timeline;
    const Evidence* evidence = nullptr;  // what the status shows of the probes
    FlightThread* flight = nullptr;      // nullptr: it could not be opened, and nothing is recorded
  };
  NodeRunner(Dependencies dependencies, NodeConfig node_config);
  ~NodeRunner();
  NodeRunner(const NodeRunner&) = delete;
  NodeRunner& operator=(const NodeRunner&) = delete;

  // Where [fencing] names a shared disk: from before start() on. Errors: it can't be used.
  Result<void> watch_for_pills(NodeIncarnation self);
  void start(const input::Started& started);
  // May be called from within an action's execution: the input then waits its turn.
  void feed(Input input);
  // As the node says of itself: see NodeStatus::unfit.
  std::string unfit() const;
  // An operator's request; answered once, possibly later.
  void serve(const OperatorCall& call, OperatorServer::Answer answer);
  // Heartbeats that failed their checks, so far.
  std::uint64_t corrupt_beats() const { return corrupt_beats_; }

 private:
  void tick();
  void process(const Input& input);
  void receive(const Message& message);
  void count_if_stale(const Heartbeat& heartbeat);
  void show_role();
  void switch_peer_off(Term term);
  void fenced(Term term, const Result<std::string>& off);
  Status status() const;
  void serve_console(const OperatorCall& call, OperatorServer::Answer answer);
  void serve_balloon(const OperatorCall& call, OperatorServer::Answer answer);
  void serve_power_button(OperatorServer::Answer answer);
  void serve_verify(OperatorServer::Answer answer);
  void serve_preflight(OperatorServer::Answer answer);
  void serve_flight(const OperatorCall& call, OperatorServer::Answer answer);

  void carry_out(const action::ReadArbiter& action);
  void carry_out(const action::Propose& action);
  void carry_out(const action::PersistPromise& action);
  void carry_out(const action::PersistTerm& action);
  void carry_out(const action::PersistEnd& action);
  void carry_out(const action::PersistOrders& action);
  void carry_out(const action::FencePeer& action);
  void carry_out(const action::SendHeartbeat& action);
  void carry_out(const action::Rejoin& action);
  void carry_out(const action::CommandResult& action);
  void carry_out(const action::LogEvent& action);
  void carry_out(const action::Timeline& action);
  template <class GuestAction>
  void carry_out(const GuestAction& action) {
    guest_.carry_out(action);
  }
  Arbiter::Callback answer_to(AskId ask);
  std::string describe_arbiter(bool answers) const;

  const DaemonConfig& config_;
  EventLoop& loop_;
  Link& heartbeats_;
  Arbiter& arbiter_;
  ManualArbiter* const manual_;
  StoreThread& store_;
  GuestHost& guest_;
  Timeline& timeline_;
  Node node_;
  const Evidence* const evidence_;
  FlightThread* const flight_;
  std::optional<FlightRecorder> recorder_;
  ConsoleDesk console_;
  std::unique_ptr<FenceAgent> fence_agent_;  // where one is configured
  std::unique_ptr<PoisonPill> pill_;         // likewise
  std::deque<Input> waiting_;
  bool processing_ = false;
  EventLoop::TimerId tick_timer_ = 0;
  std::map<CommandId, OperatorServer::Answer> commands_;
  std::uint64_t last_command_ = 0;
  const std::function<LinkNumbers()> heartbeat_numbers_;
  std::uint64_t malformed_ = 0;  // heartbeats that no decoder took
  std::uint64_t stale_ = 0;      // heartbeats not newer than one that came before, or of an older term
  struct {
    NodeIncarnation sender{};
    Term term{};
    std::uint64_t sequence = 0;
  } heard_;  // the newest heartbeat
  std::uint64_t corrupt_beats_ = 0;
  std::string arbiter_trouble_;                                       // why the latest question to the arbiter has no answer
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for the store's answers, which may come after the end
  Role shown_role_ = Role::kStarting;
  Term shown_term_;
};

}  // namespace understudy
