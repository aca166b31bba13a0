#include "failover/daemon/node_runner.h"

#include <fmt/format.h>

#include "failover/daemon/arbiter_choice.h"
#include "failover/daemon/log_setup.h"
#include "failover/heartbeat_codec.h"
#include "failover/orders_codec.h"
#include "net/codec.h"

namespace understudy {

NodeRunner::NodeRunner(Dependencies dependencies, NodeConfig node_config)
    : config_{dependencies.config},
      loop_{dependencies.loop},
      heartbeats_{dependencies.heartbeats},
      arbiter_{dependencies.arbiter},
      manual_{dependencies.manual},
      store_{dependencies.store},
      guest_{dependencies.guest},
      timeline_{dependencies.timeline},
      node_{std::move(node_config)},
      flight_{dependencies.flight},
      console_{loop_, guest_.console()},
      heartbeat_numbers_{std::move(dependencies.heartbeat_numbers)} {
  if (flight_) recorder_.emplace(*flight_, flight_->next_chunk(), flight_->next_event(), realtime_ns);
  heartbeats_.on_message([this](Message message) { receive(message); });
  heartbeats_.on_connection([this](bool connected) { feed(input::PeerConnection{connected}); });
  // A heartbeat that found the queue full is not sent later: the next one is fresher.
  heartbeats_.on_writable([] {});
}

NodeRunner::~NodeRunner() {
  *alive_ = false;
  if (recorder_) recorder_->flush();
  loop_.cancel(tick_timer_);
  heartbeats_.on_message([](Message) {});
  heartbeats_.on_connection([](bool) {});
}

void NodeRunner::start(const input::Started& started) {
  feed(started);
  tick();
}

void NodeRunner::tick() {
  if (!config_.disks.empty()) judge_guest_disks(loop_.clock().now());
  feed(input::Tick{});
  tick_timer_ = loop_.call_at(loop_.clock().now() + kTick, [this] { tick(); });
}

// On this loop, since the session's may stand in a pause while the disks are well.
void NodeRunner::judge_guest_disks(Instant now) {
  if (now < disks_due_) return;
  disks_due_ = now + kDiskPeriod;
  const ProbeReport report = judge_disks(guest_.numbers().disks, now);
  const auto latest = probed_.find(report.path);
  if (latest != probed_.end() && latest->second.health != report.health)
    log(report.health == Health::kFailed ? Severity::kError : Severity::kWarning, "guest's disks are now otherwise",
        {{"health", name_of(report.health)}, {"reason", report.text}});
  feed(input::Probed{report});
}

void NodeRunner::feed(Input input) {
  waiting_.push_back(std::move(input));
  if (processing_) return;
  processing_ = true;
  while (!waiting_.empty()) {
    const Input next = std::move(waiting_.front());
    waiting_.pop_front();
    process(next);
  }
  processing_ = false;
}

void NodeRunner::process(const Input& input) {
  if (const auto* const probed = std::get_if<input::Probed>(&input)) probed_[probed->report.path] = probed->report;
  const Instant now = loop_.clock().now();
  for (const Action& action : recorder_ ? recorder_->step(node_, now, input) : node_.step(now, input))
    std::visit([this](const auto& concrete) { carry_out(concrete); }, action);
  show_role();
}

void NodeRunner::show_role() {
  const NodeStatus status = node_.status();
  if (status.role == shown_role_ && status.term == shown_term_) return;
  set_log_role(name_of(status.role), status.term);
  if (status.role != shown_role_) timeline_.record(name_of(status.role), status.term, status.why);
  shown_role_ = status.role;
  shown_term_ = status.term;
}

void NodeRunner::receive(const Message& message) {
  auto decoded = decode(message, config_.pair.id);
  if (!decoded) {
    ++malformed_;
    log(Severity::kWarning, "message of the peer refused", {{"link", "heartbeat"}, {"reason", decoded.error().text()}});
    return;
  }
  auto heartbeat = decode_heartbeat(*decoded);
  if (!heartbeat) {
    ++malformed_;
    log(Severity::kWarning, "heartbeat refused", {{"reason", heartbeat.error().text()}});
    return;
  }
  count_if_stale(*heartbeat);
  if (manual_) manual_->heard(*heartbeat);
  feed(input::HeartbeatReceived{std::move(*heartbeat)});
}

// For the count alone: what to believe is the node's business (PeerView).
void NodeRunner::count_if_stale(const Heartbeat& heartbeat) {
  const bool same = heartbeat.sender.incarnation == heard_.sender.incarnation;
  if (same ? heartbeat.sequence <= heard_.sequence : heartbeat.term < heard_.term)
    ++stale_;
  else
    heard_ = {.sender = heartbeat.sender, .term = heartbeat.term, .sequence = heartbeat.sequence};
}

Arbiter::Callback NodeRunner::answer_to(AskId ask) {
  return [this, ask](Result<ArbiterAnswer> answer) {
    arbiter_trouble_ = answer ? "" : answer.error().text();
    if (answer)
      feed(input::ArbiterAnswered{ask, std::move(*answer)});
    else
      feed(input::ArbiterFailed{ask, answer.error().text()});
  };
}

void NodeRunner::carry_out(const action::ReadArbiter& action) { arbiter_.read(answer_to(action.ask)); }

void NodeRunner::carry_out(const action::Propose& action) {
  timeline_.record("asked", node_.status().term);
  arbiter_.propose(action.proposal, answer_to(action.ask));
}

void NodeRunner::carry_out(const action::PersistPromise& action) {
  guest_.promise(action.promise);
  store_.put_promise(action.promise, [this, alive = alive_, promise = action.promise](Result<void> put) {
    if (!*alive) return;
    if (put)
      feed(input::PromisePersisted{promise});
    else
      feed(input::StoreFailed{put.error().text()});
  });
}

void NodeRunner::carry_out(const action::PersistTerm& action) {
  store_.put_term(action.term, [this, alive = alive_, term = action.term](Result<void> put) {
    if (!*alive) return;
    if (put)
      feed(input::TermPersisted{term});
    else
      feed(input::StoreFailed{put.error().text()});
  });
}

void NodeRunner::carry_out(const action::PersistEnd& action) { store_.put_end(action.ended); }

void NodeRunner::carry_out(const action::PersistOrders& action) {
  store_.put_orders(encode_orders(action.orders), [this, alive = alive_, order = action.order](Result<void> put) {
    if (!*alive) return;
    if (put)
      feed(input::OrdersPersisted{order});
    else
      feed(input::StoreFailed{put.error().text()});
  });
}

void NodeRunner::carry_out(const action::SendHeartbeat& action) {
  // A link that is down or full loses it, as a network may: silence is what the peer is to see then.
  static_cast<void>(heartbeats_.send(encode_heartbeat(config_.pair.id, action.heartbeat)));
}

void NodeRunner::carry_out(const action::Rejoin& action) {
  // The node only asks for this where rejoin_after is configured, which this daemon leaves to the operator and systemd.
  log(Severity::kWarning, "fenced: restart this daemon to rejoin the pair", {{"reason", action.reason}});
}

void NodeRunner::carry_out(const action::CommandResult& action) {
  auto found = commands_.extract(action.id);
  if (found.empty()) return;
  log(Severity::kInfo, "operator's command answered", {{"ok", action.ok ? "yes" : "no"}, {"sentence", action.sentence}});
  found.mapped()({.ok = action.ok, .sentence = action.sentence, .status = status()});
}

void NodeRunner::carry_out(const action::LogEvent& action) {
  std::string details;
  for (const auto& [key, value] : action.fields) details += fmt::format("{}{}={}", details.empty() ? "" : ", ", key, value);
  if (details.empty())
    log(action.severity, action.event);
  else
    log(action.severity, action.event, {{"what", details}});
}

void NodeRunner::carry_out(const action::Timeline& action) {
  timeline_.record(name_of(action.milestone), action.at, node_.status().term, action.text);
}

namespace {

// Why what an operator wants of a running guest can't be had of this node.
std::string not_here(NodeId self, const NodeStatus& node) {
  const std::string is = fmt::format("node {} is {}: ", name_of(self), name_of(node.role));
  if (!node.ended.empty()) return is + "the guest does not run: " + node.ended;
  if (node.role == Role::kSecondary)
    return is + fmt::format("the guest does not run here but on node {}; ask there", name_of(peer_of(self)));
  return is + "the guest does not run here";
}

// The node's own name for a command that its decisions are asked for.
std::optional<CommandKind> decided_by_the_node(schema::OperatorRequest::Command command) {
  using Asked = schema::OperatorRequest::Command;
  switch (command) {
    case Asked::SWITCHOVER:
      return CommandKind::kSwitchover;
    case Asked::TAKEOVER:
      return CommandKind::kTakeover;
    case Asked::START:
      return CommandKind::kStart;
    case Asked::HOLD:
      return CommandKind::kHold;
    case Asked::RELEASE:
      return CommandKind::kRelease;
    case Asked::FAILBACK:
      return CommandKind::kFailback;
    case Asked::UNPROTECT:
      return CommandKind::kUnprotect;
    case Asked::PROTECT:
      return CommandKind::kProtect;
    case Asked::FENCE:
      return CommandKind::kFence;
    case Asked::UNFENCE:
      return CommandKind::kUnfence;
    case Asked::GRANT:
      return CommandKind::kGrant;
    default:
      return std::nullopt;
  }
}

}  // namespace

void NodeRunner::serve(const OperatorCall& call, OperatorServer::Answer answer) {
  const auto command = call.command;
  if (command == schema::OperatorRequest::Command::STATUS) {
    answer({.ok = true, .sentence = "", .status = status()});
    return;
  }
  if (command == schema::OperatorRequest::Command::PREFLIGHT) {
    serve_preflight(std::move(answer));
    return;
  }
  if (command == schema::OperatorRequest::Command::EVENTS || command == schema::OperatorRequest::Command::FLIGHT) {
    serve_flight(call, std::move(answer));
    return;
  }
  if (command == schema::OperatorRequest::Command::CONSOLE || command == schema::OperatorRequest::Command::BALLOON ||
      command == schema::OperatorRequest::Command::POWER_BUTTON) {
    if (const NodeStatus node = node_.status(); !node.guest_runs)
      answer({.ok = false, .sentence = not_here(config_.pair.node, node), .status = status()});
    else if (command == schema::OperatorRequest::Command::CONSOLE)
      serve_console(call, std::move(answer));
    else if (command == schema::OperatorRequest::Command::BALLOON)
      serve_balloon(call, std::move(answer));
    else
      serve_power_button(std::move(answer));
    return;
  }
  const std::optional<CommandKind> kind = decided_by_the_node(command);
  if (!kind) {
    answer({.ok = false,
            .sentence = "this daemon does not know that command: install the same version of understudy and understudyd",
            .status = status()});
    return;
  }
  const CommandId id{++last_command_};
  commands_.emplace(id, std::move(answer));
  log(Severity::kInfo, "operator's command", {{"command", name_of(*kind)}, {"by", call.by}, {"reason", call.reason}});
  feed(input::Command{.id = id,
                      .kind = *kind,
                      .by = call.by.empty() ? "an operator" : call.by,
                      .reason = call.reason,
                      .now_ns = static_cast<std::uint64_t>(realtime_ns()),
                      .length = call.length});
}

void NodeRunner::serve_console(const OperatorCall& call, OperatorServer::Answer answer) {
  if (call.console_input.empty()) {
    console_.read(call.console_from, [answer = std::move(answer)](const ConsoleOutput& output) {
      answer({.ok = true, .sentence = "", .status = {}, .console = {{.output = output, .taken = std::nullopt}}});
    });
    return;
  }
  guest_.type(call.console_input, [answer = std::move(answer)](std::size_t taken) {
    answer({.ok = true, .sentence = "", .status = {}, .console = {{.output = {}, .taken = taken}}});
  });
}

void NodeRunner::serve_balloon(const OperatorCall& call, OperatorServer::Answer answer) {
  std::optional<std::uint64_t> bytes;
  if (call.balloon_mib) bytes = std::min(*call.balloon_mib, std::uint64_t{1} << 30) << 20;
  guest_.balloon(bytes, [this, alive = alive_, answer = std::move(answer)](const Result<BalloonBytes>& balloon) {
    if (!*alive) return;
    if (!balloon) {
      answer({.ok = false, .sentence = balloon.error().text(), .status = status()});
      return;
    }
    answer({.ok = true,
            .sentence =
                fmt::format("the guest is asked to give back {} MiB, and gave back {} MiB", balloon->target >> 20, balloon->actual >> 20),
            .status = status()});
  });
}

void NodeRunner::serve_flight(const OperatorCall& call, OperatorServer::Answer answer) {
  if (!flight_) {
    answer({.ok = false,
            .sentence = "the flight recorder's log could not be opened when this daemon started: its log says why",
            .status = status()});
    return;
  }
  if (call.command == schema::OperatorRequest::Command::EVENTS)
    flight_->events(call.from, [alive = alive_, answer = std::move(answer)](std::vector<FlightEvent> events) {
      if (*alive) answer({.ok = true, .sentence = "", .status = {}, .events = std::move(events)});
    });
  else
    flight_->chunk(call.from, [alive = alive_, answer = std::move(answer)](std::optional<std::vector<std::byte>> chunk) {
      if (*alive) answer({.ok = true, .sentence = "", .status = {}, .chunk = std::move(chunk).value_or(std::vector<std::byte>{})});
    });
}

void NodeRunner::serve_power_button(OperatorServer::Answer answer) {
  log(Severity::kInfo, "operator's command", {{"command", "power-button"}});
  guest_.press_power_button([this, alive = alive_, answer = std::move(answer)](const Result<bool>& listens) {
    if (!*alive) return;
    if (!listens)
      answer({.ok = false, .sentence = listens.error().text(), .status = status()});
    else if (*listens)
      answer({.ok = true,
              .sentence = "the guest's power button was pressed; `understudy status` tells when the guest has powered off",
              .status = status()});
    else
      answer({.ok = true,
              .sentence = "the guest's power button was pressed, but the guest does not listen to it (it has no driver for it, or still "
                          "boots): the press waits until it does",
              .status = status()});
  });
}

namespace {

// From grant to running guest, in the latest takeover of this process.
std::optional<Duration> measured_restore(const std::vector<Status::Moment>& moments) {
  std::optional<std::int64_t> granted;
  std::optional<Duration> took;
  for (const Status::Moment& moment : moments) {
    if (moment.name == name_of(action::Milestone::kTermStored)) granted = moment.monotonic_ns;
    if (moment.name != "first-instruction" || !granted) continue;
    took = Duration{moment.monotonic_ns - *granted};
    granted.reset();
  }
  return took;
}

}  // namespace

// The arbiter is asked now, beside whatever the node asks it.
void NodeRunner::serve_preflight(OperatorServer::Answer answer) {
  arbiter_.read([this, alive = alive_, answer = std::move(answer), asked_at = loop_.clock().now()](Result<ArbiterAnswer> got) {
    if (!*alive) return;
    PreflightFacts facts;
    facts.self = config_.pair.node;
    facts.node = node_.status();
    facts.arbiter = arbiter_name(config_);
    facts.detect = config_.timing.takeover_after;
    facts.restore = measured_restore(timeline_.moments());
    facts.waiting_frames = guest_.numbers().gate.depth_frames;
    if (got) {
      facts.arbiter_answered = loop_.clock().now() - asked_at;
      facts.record = got->record;
    } else {
      facts.arbiter_trouble = got.error().text();
    }
    const Preflight preflight = judge_preflight(facts);
    answer({.ok = preflight.answer == PreflightAnswer::kYes, .sentence = "", .status = status(), .preflight = preflight});
  });
}

namespace {

// The guest in one line: what it does here, and what there is to tell of it on either node.
std::string describe_guest(const NodeStatus& node, const std::string& here) {
  if (!node.ended.empty()) {
    if (!node.end_settled) return node.ended + "; not yet held by both nodes";
    return node.ended + "; it is not revived, `understudy start` starts it again";
  }
  return node.guest_note.empty() ? here : here + "; " + node.guest_note;
}

}  // namespace

std::string NodeRunner::describe_arbiter(bool answers) const {
  const auto name = arbiter_name(config_);
  if (answers) return name + ", answers";
  return name + (arbiter_trouble_.empty() ? ": does not answer" : ": does not answer (" + arbiter_trouble_ + ")");
}

Status NodeRunner::status() const {
  const NodeStatus node = node_.status();
  const GuestNumbers guest = guest_.numbers();
  Status out;
  out.pair = config_.pair.name;
  out.node = name_of(config_.pair.node);
  out.role = name_of(node.role);
  if (node.record) out.mode = node.record->mode == PairMode::kPair ? "pair" : "solo";
  out.term = node.term;
  out.epoch = guest.open_epoch;
  out.committed_epoch = std::max(guest.committed_epoch, node.committed.epoch);
  out.is_protected = node.is_protected;
  out.reason = node.why;
  out.arbiter = describe_arbiter(node.arbiter_answers);
  out.arbiter_answers = node.arbiter_answers;
  out.incarnation = node.self.incarnation;
  out.promise = node.promise;
  if (!node.arbiter_answers) out.reason += out.reason.empty() ? "the arbiter does not answer" : "; the arbiter does not answer";
  const auto verdict_text = [](const Verdict& verdict) {
    return verdict.text.empty() ? std::string{name_of(verdict.condition)} : fmt::format("{}: {}", name_of(verdict.condition), verdict.text);
  };
  out.verdict = verdict_text(node.verdict_on_self);
  out.peer_verdict = fmt::format("{}, {}", verdict_text(node.verdict_on_peer), name_of(node.peer_role));
  out.guest = describe_guest(node, guest.guest);
  out.ended = node.ended;
  if (node.hold.held)
    out.hold = {.by = node.hold.by,
                .reason = node.hold.reason,
                .since_ns = static_cast<std::int64_t>(node.hold.since_ns),
                .until_ns = static_cast<std::int64_t>(node.hold.until_ns),
                .both_know = node.peer_knows_hold};
  out.fenced_by_order = node.fenced_by_order;
  out.wants_no_peer = node.wants_no_peer;
  if (out.wants_no_peer && node.role == Role::kSecondary)
    out.reason =
        "not wanted: on the other host the guest runs alone, by an operator's order (`understudy protect` there takes this node back)";
  out.timeline = timeline_.moments();
  out.gate = guest.gate;
  out.last = guest.epochs;
  for (const DiskReading& disk : guest.disks)
    out.disks.push_back({.id = disk.id,
                         .outstanding = disk.evidence.outstanding,
                         .oldest_ms = static_cast<std::uint64_t>(std::max(0.0, to_ms(disk.evidence.oldest_age))),
                         .completed = disk.evidence.completed,
                         .errors = disk.evidence.errors,
                         .last_error = disk.evidence.last_error});
  out.insecure = config_.security.insecure;
  out.links = heartbeat_numbers_();
  out.links.add(LinkNumbers{.malformed = malformed_, .stale = stale_});
  out.links.add(guest.link);
  for (const auto& [path, report] : probed_) out.probes.push_back({name_of(path), name_of(report.health), report.text});
  return out;
}

}  // namespace understudy
