// One simulated host: the real node, with its actions carried out on models of store and probes, and on a guest part.
//
// A process can be killed (memory gone, unsynced writes perhaps gone) and stopped (everything that arrives waits, and then comes at once).
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "failover/node.h"
#include "tests/sim/engine.h"
#include "tests/sim/flight_check.h"
#include "tests/sim/guest_part.h"
#include "tests/sim/network.h"
#include "tests/sim/options.h"
#include "tests/sim/oracle.h"
#include "tests/sim/witness.h"

namespace understudy::sim {

class Host {
 public:
  Host(NodeId id, const NodeConfig& config, const Options& options, Engine& engine, Network& network, Witness& witness, Oracle& oracle);

  void connect(Host& peer) { peer_ = &peer; }
  void start();
  void kill();
  bool up() const { return node_ != nullptr; }
  // Where no witness is: this node's own record, also while it is down.
  const WitnessPair& record() const { return record_; }
  void freeze(Duration length);
  bool frozen() const { return frozen_; }
  void set_path(ProbePath path, bool works);
  void set_store(bool works) { store_works_ = works; }
  void break_session() {
    receive([this] { guest_->break_session(); });
  }
  void power_off() {
    receive([this] { guest_->power_off(); });
  }
  void reboot_guest() {
    receive([this] { guest_->reboot(); });
  }
  void break_guest() {
    receive([this] { guest_->break_guest(); });
  }
  void command(CommandKind kind, std::optional<Duration> length = std::nullopt);
  void fail_next_restore(bool fails) {
    if (guest_) guest_->fail_next_restore(fails);
  }

  NodeStanding standing() const { return node_->standing(); }
  NodeStatus status() const { return node_->status(); }
  NodeIncarnation self() const { return {id_, incarnation_}; }
  bool guest_exists() const { return guest_->guest_exists(); }
  bool holds_image() const { return guest_->holds_image() && !gave_image_up_; }
  std::size_t unanswered_commands() const { return commands_.size(); }
  std::uint64_t steps_replayed() const { return flight_check_.steps_replayed(); }
  std::string describe() const;

 private:
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
  void carry_out(const action::PersistEnd& action) { stored_end_ = action.ended; }
  void carry_out(const action::PersistOrders& action);
  void carry_out(const action::FencePeer& action);
  void carry_out(const action::AnnounceAddress&) {}
  void carry_out(const action::TakeOver& action) {
    if (action.start) oracle_.operator_starts();
    guest_->carry_out(action);
  }
  void carry_out(const action::RestartGuest& action) {
    oracle_.operator_starts();
    guest_->carry_out(action);
  }
  void carry_out(const action::Rejoin& action);
  void carry_out(const action::CommandResult& action);
  void carry_out(const action::LogEvent& action);
  void carry_out(const action::Timeline& action);
  template <class GuestAction>
  void carry_out(const GuestAction& action) {
    guest_->carry_out(action);
  }

  void ask_own_record(AskId ask, std::optional<Proposal> proposal);
  void ask_witness(AskId ask, std::function<std::optional<ArbiterAnswer>()> question);
  void persist(std::function<void()> land, bool lie, Input done);

  Surroundings surroundings();
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
  std::string stored_end_;
  WitnessPair record_;  // where no witness is
  StandingOrders stored_orders_;
  std::uint64_t orders_process_ = 0, orders_order_ = 0;  // which write that was
  bool store_works_ = true;

  // Gone with the process.
  std::unique_ptr<Node> node_;
  std::unique_ptr<FlightRecorder> recorder_;  // where the run is recorded
  Incarnation incarnation_;
  std::uint64_t process_ = 0;
  std::unique_ptr<GuestPart> guest_;
  std::map<CommandId, CommandKind> commands_;
  bool gave_image_up_ = false;  // it was fenced by an order, and no epoch came since
  bool handed_over_ = false;    // the peer has offered its guest to this process
  bool frozen_ = false;
  std::vector<std::function<void()>> backlog_;

  // The world.
  std::array<bool, kProbePathCount> path_works_{};
  std::array<Instant, kProbePathCount> path_failed_at_{};
  std::uint64_t next_command_ = 1;
  RequestId solo_asked_;
  FlightCheck flight_check_;
};

}  // namespace understudy::sim
