#include "tests/sim/host.h"

#include <cstdio>

#include "failover/manual_arbiter.h"

namespace understudy::sim {
namespace {

Place place_of(NodeId id) { return id == NodeId::kA ? Place::kA : Place::kB; }

}  // namespace

Host::Host(NodeId id, const NodeConfig& config, const Options& options, Engine& engine, Network& network, Witness& witness, Oracle& oracle)
    : id_{id},
      config_{config},
      options_{options},
      engine_{engine},
      network_{network},
      witness_{witness},
      oracle_{oracle},
      place_{place_of(id)},
      peer_place_{place_of(peer_of(id))},
      flight_check_{[this](const std::string& what) { oracle_.violate("a node does the same again", what); }} {
  config_.node = id;
  config_.starts_as_primary = id == NodeId::kA;
  path_works_.fill(true);
}

void Host::trace(const std::string& text) const {
  if (options_.verbose) std::printf("%10.3f ms  %s  %s\n", to_ms(engine_.now().time_since_epoch()), name_of(id_), text.c_str());
}

void Host::start() {
  if (node_) return;
  ++process_;
  incarnation_ = Incarnation{engine_.random.next() | 1};
  NodeConfig config = config_;
  if (options_.bug == Bug::kSoloUnproven) config.probes.clear();
  if (options_.bug == Bug::kOwnRecordTrusted) config.manual = false;
  node_ = std::make_unique<Node>(config);
  if (options_.recorded)
    recorder_ = std::make_unique<FlightRecorder>(
        flight_check_, 0, 0, [this] { return to_ns(engine_.now()); },
        FlightLimits{.chunk_bytes = 16 << 10, .offer_every = ms(3000), .offer_soon = ms(500)});
  trace("process starts as " + std::to_string(incarnation_.raw() % 10000));
  guest_ = (options_.real_sessions ? make_real_guest : make_model_guest)(surroundings());
  handed_over_ = gave_image_up_ = false;
  input::Started started{{id_, incarnation_}, stored_term_, stored_promise_, stored_committed_, stored_end_, stored_orders_, std::nullopt};
  if (const Hold& hold = stored_orders_.hold; hold.held && hold.until_ns != 0)
    started.hold_ends_in = std::max(Instant{Duration{static_cast<std::int64_t>(hold.until_ns)}} - engine_.now(), Duration{});
  feed(started);
  tick();
  for (const ProbePath path : config_.probes) probe(path);
}

Surroundings Host::surroundings() {
  return {.self = self(),
          .engine = engine_,
          .oracle = oracle_,
          .options = options_,
          .feed = [this](Input input) { feed(std::move(input)); },
          .timer = [this](Duration delay, std::function<void()> event) { timer(delay, std::move(event)); },
          .send =
              [this](PeerMessage message) {
                const bool streamed = std::holds_alternative<Message>(message);
                auto deliver = [peer = peer_, message = std::move(message)] {
                  peer->receive([peer, message] { peer->guest_->receive(message); });
                };
                if (streamed)
                  network_.stream(place_, peer_place_, std::move(deliver));
                else
                  network_.send(place_, peer_place_, std::move(deliver));
              },
          .service_works = [this] { return path_works_[static_cast<std::size_t>(ProbePath::kServiceNic)]; },
          .stored_term = [this] { return stored_term_; },
          .trace = [this](const std::string& text) { trace(text); }};
}

void Host::kill() {
  if (!node_) return;
  trace("process is killed");
  ++process_;
  if (recorder_) recorder_->flush();
  recorder_.reset();
  node_.reset();
  guest_.reset();
  commands_.clear();
  frozen_ = false;
  backlog_.clear();
}

void Host::freeze(Duration length) {
  if (!node_ || frozen_) return;
  trace("process stops for " + std::to_string(to_ms(length)) + " ms");
  frozen_ = true;
  const std::uint64_t process = process_;
  engine_.after(length, [this, process, length] {
    if (process != process_) return;
    trace("process goes on");
    frozen_ = false;
    if (engine_.random.chance(0.5)) feed(input::LoopGap{length});
    auto backlog = std::exchange(backlog_, {});
    for (auto& message : backlog) {
      if (process != process_) return;
      message();
    }
  });
}

void Host::receive(std::function<void()> message) {
  if (!node_) return;
  if (frozen_) {
    backlog_.push_back(std::move(message));
  } else {
    message();
  }
}

void Host::timer(Duration delay, std::function<void()> event) {
  engine_.after(delay, [this, process = process_, event = std::move(event)] {
    if (process == process_) receive(event);
  });
}

void Host::feed(Input input) {
  if (!node_) return;
  if (const auto* committed = std::get_if<input::EpochCommitted>(&input)) {
    stored_committed_ = committed->at;
    gave_image_up_ = false;
  }
  const std::uint64_t process = process_;
  const std::vector<Action> actions = recorder_ ? recorder_->step(*node_, engine_.now(), input) : node_->step(engine_.now(), input);
  for (const Action& action : actions)
    if (process == process_) act(action);
  if (process != process_) return;
  const NodeStanding now = node_->standing();
  gave_image_up_ |= now.role == Role::kFenced && now.kept_out;
  if (now.end_settled && (now.role == Role::kPrimary || now.role == Role::kSolo)) oracle_.end_settled(self(), now.term);
}

void Host::act(const Action& action) {
  std::visit([this](const auto& one) { carry_out(one); }, action);
}

void Host::tick() {
  feed(input::Tick{});
  timer(ms(10), [this] { tick(); });
}

void Host::probe(ProbePath path) {
  const Instant started = engine_.now();
  const bool works = path_works_[static_cast<std::size_t>(path)];
  const Duration takes = works ? engine_.random.between(ms(0.5), ms(8)) : engine_.random.between(ms(5), ms(100));
  timer(takes, [this, path, started, works] {
    const bool good = works && path_works_[static_cast<std::size_t>(path)];
    ProbeReport report{path, good ? Health::kHealthy : Health::kFailed, started, engine_.now(), good ? "" : "simulated failure"};
    // What is watched rather than exercised is suspected: whether it counts depends on what the other node finds.
    report.suspected = !good && !needs_fresh_proof(path);
    if (report.suspected) report.health = Health::kDegraded;
    feed(input::Probed{std::move(report)});
    timer(ms(50), [this, path] { probe(path); });
  });
}

void Host::set_path(ProbePath path, bool works) {
  auto& state = path_works_[static_cast<std::size_t>(path)];
  if (state && !works) path_failed_at_[static_cast<std::size_t>(path)] = engine_.now();
  state = works;
  trace(std::string{name_of(path)} + (works ? " works" : " fails"));
}

void Host::command(CommandKind kind, std::optional<Duration> length) {
  receive([this, kind, length] {
    const CommandId id{next_command_++};
    commands_.emplace(id, kind);
    trace(std::string{"operator: "} + name_of(kind));
    feed(input::Command{.id = id,
                        .kind = kind,
                        .by = "the operator",
                        .reason = "",
                        .now_ns = static_cast<std::uint64_t>(to_ns(engine_.now())),
                        .length = length});
  });
}

void Host::ask_witness(AskId ask, std::function<std::optional<ArbiterAnswer>()> question) {
  network_.send(place_, Place::kWitness, [this, ask, question = std::move(question), process = process_] {
    const std::optional<ArbiterAnswer> answer = question();
    if (!answer) return;
    network_.send(Place::kWitness, place_, [this, ask, answer, process] {
      if (process != process_) return;
      receive([this, ask, answer] { feed(input::ArbiterAnswered{ask, *answer}); });
    });
  });
}

void Host::ask_own_record(AskId ask, std::optional<Proposal> proposal) {
  timer(engine_.random.between(ms(0.2), ms(8)), [this, ask, proposal] {
    const WitnessIdentity identity{.store = StoreId{1 + static_cast<std::uint64_t>(id_)}};
    if (!proposal) return feed(input::ArbiterAnswered{ask, answer_read(record_, identity)});
    const WitnessDecision decision = decide_manually(record_, *proposal, identity);
    if (decision.changed) {
      record_ = *decision.changed;
      if (record_.record) oracle_.granted_here(*record_.record);
    }
    feed(input::ArbiterAnswered{ask, decision.answer});
  });
}

void Host::carry_out(const action::ReadArbiter& action) {
  if (config_.manual) return ask_own_record(action.ask, std::nullopt);
  ask_witness(action.ask, [this] { return witness_.read(); });
}

void Host::carry_out(const action::Propose& action) {
  const Proposal proposal = action.proposal;
  trace("proposes kind " + std::to_string(static_cast<int>(proposal.kind)) + " on term " + std::to_string(proposal.expected_term.raw()));
  if (proposal.kind == ProposalKind::kTakeover || proposal.kind == ProposalKind::kSwitchover)
    oracle_.takeover_asked(self(), after(proposal.expected_term), stored_promise_);
  const bool by_order =
      handed_over_ || std::ranges::any_of(commands_, [](const auto& one) {
        return one.second == CommandKind::kTakeover || one.second == CommandKind::kStart || one.second == CommandKind::kGrant;
      });
  if (proposal.kind == ProposalKind::kTakeover && !by_order && node_->status().hold.held)
    oracle_.violate("held", std::string{name_of(id_)} + " asks for the guest of a held pair, and no operator wanted it");
  if (proposal.kind == ProposalKind::kSolo) {
    bool long_sick = false;
    for (const ProbePath path : config_.probes)
      long_sick |= needs_fresh_proof(path) && !path_works_[static_cast<std::size_t>(path)] &&
                   engine_.now() - path_failed_at_[static_cast<std::size_t>(path)] > ms(1000);
    // Repetitions of a request made in health are allowed.
    if (solo_asked_ != proposal.request) oracle_.solo_asked(self(), long_sick);
    solo_asked_ = proposal.request;
  }
  if (config_.manual) return ask_own_record(action.ask, proposal);
  ask_witness(action.ask, [this, proposal] { return witness_.propose(proposal); });
}

void Host::persist(std::function<void()> land, bool lie, Input done) {
  const bool works = store_works_;
  const Duration takes = works ? engine_.random.between(ms(0.5), ms(10)) : engine_.random.between(ms(200), ms(600));
  // The write itself may outlive the process that asked for it, and the answer.
  engine_.after(takes, [this, land = std::move(land), lie, works, done, process = process_] {
    const bool lands = works ? process == process_ || engine_.random.chance(0.5) : engine_.random.chance(0.3);
    if (lands && !lie) land();
    if (process != process_) return;
    receive([this, works, done] { feed(works ? done : Input{input::StoreFailed{"simulated: deadline passed"}}); });
  });
}

void Host::carry_out(const action::PersistPromise& action) {
  guest_->promise(action.promise);
  persist([this, promise = action.promise] { stored_promise_ = std::max(stored_promise_, promise); },
          options_.bug == Bug::kPromiseNotStored, input::PromisePersisted{action.promise});
}

void Host::carry_out(const action::PersistTerm& action) {
  persist([this, term = action.term] { stored_term_ = std::max(stored_term_, term); }, false, input::TermPersisted{action.term});
}

void Host::carry_out(const action::PersistOrders& action) {
  // In order, as the store's thread writes them.
  persist(
      [this, order = action.order, orders = action.orders, process = process_] {
        if (process == orders_process_ && order < orders_order_) return;
        orders_process_ = process;
        orders_order_ = order;
        stored_orders_ = orders;
      },
      options_.bug == Bug::kOrdersNotStored, input::OrdersPersisted{action.order});
}

void Host::carry_out(const action::FencePeer& action) {
  timer(engine_.random.between(ms(20), ms(300)), [this, term = action.term] {
    if (engine_.random.chance(0.3)) return feed(input::PeerFenced{term, false, "simulated: the agent fails"});
    if (engine_.random.chance(0.3) && peer_->up() && !peer_->frozen()) {
      peer_->feed(input::Poisoned{term});
      return feed(input::PeerFenced{term, true, "simulated: it took the pill"});
    }
    if (peer_->up()) {
      peer_->kill();
      engine_.after(engine_.random.between(ms(200), ms(2000)), [peer = peer_] { peer->start(); });
    }
    feed(input::PeerFenced{term, true, "simulated"});
  });
}

void Host::carry_out(const action::SendHeartbeat& action) {
  network_.send(place_, peer_place_, [peer = peer_, heartbeat = action.heartbeat] {
    peer->receive([peer, heartbeat] {
      peer->handed_over_ |= heartbeat.handover.has_value();
      if (peer->config_.manual)
        if (const auto changed = adopt(peer->record_, heartbeat)) peer->record_ = *changed;
      peer->feed(input::HeartbeatReceived{heartbeat});
    });
  });
}

void Host::carry_out(const action::Rejoin&) {
  // After the step that asked for it: the process ends.
  timer(Duration{}, [this] {
    kill();
    start();
  });
}

void Host::carry_out(const action::CommandResult& action) {
  trace("command answered: " + action.sentence);
  commands_.erase(action.id);
}

void Host::carry_out(const action::LogEvent& action) {
  if (!options_.verbose) return;
  std::string line = action.event;
  for (const auto& [key, value] : action.fields) line += " " + key + "=" + value;
  trace(line);
}

void Host::carry_out(const action::Timeline& action) {
  if (options_.verbose) trace(std::string{"milestone: "} + name_of(action.milestone) + " " + action.text);
}

std::string Host::describe() const {
  if (!node_) return std::string{name_of(id_)} + ": down";
  const NodeStatus status = node_->status();
  return std::string{name_of(id_)} + ": " + name_of(status.role) + " term " + std::to_string(status.term.raw()) + " promise " +
         std::to_string(status.promise.raw()) + " gate " + name_of(status.gate) + (status.is_protected ? " protected" : "") +
         (status.image_whole ? " whole" : "") + " inc " + std::to_string(incarnation_.raw() % 10000) + ": " + status.why;
}

}  // namespace understudy::sim
