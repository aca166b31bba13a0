#include "failover/daemon/daemon.h"

#include <filesystem>

#include <fmt/format.h>

#include "failover/daemon/arbiter_choice.h"
#include "failover/daemon/bootable.h"
#include "failover/daemon/flight_thread.h"
#include "failover/daemon/guest_host.h"
#include "failover/daemon/node_runner.h"
#include "failover/daemon/on_loop.h"
#include "failover/daemon/operator_socket.h"
#include "failover/daemon/own_probes.h"
#include "failover/daemon/peer_link.h"
#include "failover/daemon/probes.h"
#include "failover/daemon/process.h"
#include "failover/daemon/store_thread.h"
#include "failover/daemon/timeline.h"
#include "failover/daemon/watchdog_keeper.h"
#include "failover/orders_codec.h"
#include "net/base/log.h"
#include "net/zmq_link.h"
#include "replication/rocksdb_store.h"

namespace understudy {

namespace {

constexpr Duration kStoreDeadline = std::chrono::milliseconds{1500};
constexpr Duration kReportTravels = std::chrono::milliseconds{100};  // a probe that is not late is never too old
constexpr std::size_t kHeartbeatQueue = 16;
constexpr std::size_t kHeartbeatBytes = 64 << 10;

Result<void> make_directory(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return Error{ErrorCode::kFailed, "make the directory " + path.string() + ": " + error.message()};
  return {};
}

class RunningDaemon final : public Daemon {
 public:
  RunningDaemon(DaemonConfig config, const Clock& clock) : config_{std::move(config)}, clock_{clock}, timeline_{clock} {}

  ~RunningDaemon() override {
    if (!node_thread_) return;
    static_cast<void>(on_loop(node_thread_->loop(), [this]() -> Result<void> {
      watchdogs_.reset();
      operator_.reset();
      own_probes_.reset();
      probes_.reset();
      evidence_.on_report({});
      runner_.reset();
      heartbeats_.reset();
      arbiter_.reset();
      return {};
    }));
    guest_.reset();
    store_.reset();
    flight_.reset();
    node_thread_.reset();
  }

  Result<void> start() {
    US_ASSIGN(access_, ControlAccess::resolve(config_.control));
    if (config_.security.insecure)
      log(Severity::kWarning, "links are insecure: anybody on their network may pose as the peer or the witness; see [security]");
    US_TRY(make_directory(config_.state_dir));
    US_TRY(make_directory(config_.socket.parent_path()));
    if (auto locked = lock_memory(); !locked) log(Severity::kWarning, "memory not locked", {{"reason", locked.error().text()}});

    US_ASSIGN(auto store, RocksDbStore::open(config_.state_dir / "store", config_.pair.id, config_.pair.node));
    // The image lives in this process alone, so a new process is a new incarnation, whatever the one before held.
    const NodeIncarnation self{config_.pair.node, random_id<Incarnation>()};
    input::Started started{.self = self, .term = {}, .promise = {}, .committed = {}};
    US_ASSIGN(started.term, store->term());
    US_ASSIGN(started.promise, store->promise());
    US_ASSIGN(const auto committed, store->committed());
    started.committed = {committed.term, committed.epoch};
    US_ASSIGN(const auto spoiled, store->spoiled());
    US_ASSIGN(started.ended, store->end());
    US_ASSIGN(const auto orders, store->orders());
    US_ASSIGN(started.orders, decode_orders(orders));
    if (const Hold& hold = started.orders.hold; hold.held && hold.until_ns != 0)
      started.hold_ends_in = std::clamp(Duration{static_cast<std::int64_t>(hold.until_ns) - realtime_ns()}, Duration{}, kMaxHoldLength);
    // Before the pair's first term is asked for: once it is granted, a guest that can't be booted would leave the pair without any image.
    if (config_.pair.initial_primary && started.term == Term{}) US_TRY(check_bootable(config_.vm));
    US_TRY(store->put_identity({config_.pair.id, self.node, self.incarnation}));

    US_ASSIGN(node_thread_, LoopThread::start(clock_, "node"));
    US_ASSIGN(store_, StoreThread::start(std::move(store), node_thread_->loop(), clock_, kStoreDeadline));
    // Without it the pair is as safe: it only explains.
    if (auto flight = FlightThread::start(config_.state_dir / "flight", node_thread_->loop(), clock_))
      flight_ = std::move(*flight);
    else
      log(Severity::kWarning, "flight recorder is off", {{"reason", flight.error().text()}});
    zmq_ = ZmqContext::create();
    // `runner_` exists before the node's loop comes to any report: reports are posted, and start_node() is already running then.
    US_ASSIGN(guest_, GuestHost::create({.config = config_,
                                         .clock = clock_,
                                         .node_loop = node_thread_->loop(),
                                         .zmq = zmq_,
                                         .store = *store_,
                                         .timeline = timeline_,
                                         .self = self,
                                         .spoiled = spoiled,
                                         .report = [this](Input input) {
                                           if (runner_) runner_->feed(std::move(input));
                                         }}));
    return on_loop(node_thread_->loop(), [this, started] { return start_node(started); });
  }

 private:
  // On the node's loop.
  Result<void> start_node(const input::Started& started) {
    EventLoop& loop = node_thread_->loop();
    US_ASSIGN(arbiter_, make_arbiter(config_, loop, zmq_, started.self));
    const auto link = peer_link(config_, config_.heartbeat, "heartbeat", kHeartbeatQueue, kHeartbeatBytes);
    US_ASSIGN(heartbeats_, ZmqLink::create(loop, zmq_, link));

    NodeConfig node;
    node.node = config_.pair.node;
    node.starts_as_primary = config_.pair.initial_primary;
    node.alone = config_.pair.alone;
    node.probes = Probes::paths(config_);
    node.heartbeat_every = config_.timing.heartbeat;
    node.takeover_after = config_.timing.takeover_after;
    node.solo_after = config_.timing.solo_after;
    node.stalled_after = config_.timing.stalled_after;
    node.doubt_hold = 4 * config_.timing.takeover_after;
    node.hold_down = config_.timing.hold_down;
    node.evidence_max_age = config_.timing.probe_deadline + kReportTravels;
    node.storage_max_age = config_.timing.storage_deadline + kReportTravels;
    node.switchover_keeps_image = true;
    node.home = config_.pair.home;
    node.manual = config_.manual;
    if (!config_.fencing.agent.empty() || config_.fencing.shared_disk)
      node.fencing = config_.fencing.required ? Fencing::kRequired : Fencing::kAlongside;
    node.self_fence_after = config_.fencing.self_fence_after;
    runner_ = std::make_unique<NodeRunner>(NodeRunner::Dependencies{.config = config_,
                                                                    .loop = loop,
                                                                    .heartbeats = *heartbeats_,
                                                                    .heartbeat_numbers =
                                                                        [this] {
                                                                          LinkNumbers numbers;
                                                                          numbers.add(*heartbeats_);
                                                                          return numbers;
                                                                        },
                                                                    .arbiter = *arbiter_,
                                                                    .manual = dynamic_cast<ManualArbiter*>(arbiter_.get()),
                                                                    .store = *store_,
                                                                    .guest = *guest_,
                                                                    .timeline = timeline_,
                                                                    .evidence = &evidence_,
                                                                    .flight = flight_.get()},
                                           node);
    US_ASSIGN(operator_,
              OperatorServer::create(loop, config_.socket, access_, [this](const OperatorCall& call, OperatorServer::Answer answer) {
                runner_->serve(call, std::move(answer));
              }));
    evidence_.on_report([this](ProbeReport report) { runner_->feed(input::Probed{std::move(report)}); });
    US_ASSIGN(probes_, Probes::start(loop, config_, evidence_));
    log(Severity::kInfo, "started",
        {{"incarnation", started.self.incarnation}, {"stored_term", started.term}, {"promise", started.promise}});
    if (config_.fencing.shared_disk) US_TRY(runner_->watch_for_pills(started.self));
    runner_->start(started);
    US_ASSIGN(watchdogs_, WatchdogKeeper::start(loop, config_.watchdog, *guest_, [this] { return runner_->unfit(); }));
    own_probes_ = std::make_unique<OwnProbes>(OwnProbes::Dependencies{.loop = loop,
                                                                      .guest = *guest_,
                                                                      .evidence = evidence_,
                                                                      .processes = *probes_,
                                                                      .corrupt_beats = [this] { return runner_->corrupt_beats(); },
                                                                      .has_disks = !config_.disks.empty()});
    return {};
  }

  const DaemonConfig config_;
  const Clock& clock_;
  ControlAccess access_;
  Timeline timeline_;
  std::unique_ptr<LoopThread> node_thread_;
  std::unique_ptr<StoreThread> store_;
  std::unique_ptr<FlightThread> flight_;
  std::shared_ptr<ZmqContext> zmq_;
  std::unique_ptr<GuestHost> guest_;
  // Of the node's loop:
  Evidence evidence_;
  std::unique_ptr<Probes> probes_;
  std::unique_ptr<OwnProbes> own_probes_;
  std::unique_ptr<Arbiter> arbiter_;
  std::unique_ptr<ZmqLink> heartbeats_;
  std::unique_ptr<NodeRunner> runner_;
  std::unique_ptr<OperatorServer> operator_;
  std::unique_ptr<WatchdogKeeper> watchdogs_;
};

}  // namespace

Result<std::unique_ptr<Daemon>> Daemon::start(DaemonConfig config, const Clock& clock) {
  auto daemon = std::make_unique<RunningDaemon>(std::move(config), clock);
  US_TRY(daemon->start());
  return std::unique_ptr<Daemon>{std::move(daemon)};
}

}  // namespace understudy
