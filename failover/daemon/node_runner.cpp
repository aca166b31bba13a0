#include "failover/daemon/node_runner.h"

#include <algorithm>

#include <fmt/format.h>

#include "failover/daemon/arbiter_choice.h"
#include "failover/daemon/log_setup.h"
#include "failover/heartbeat_codec.h"
#include "failover/orders_codec.h"
#include "net/codec.h"

namespace understudy {

namespace {
constexpr Duration kPillUnread = std::chrono::seconds{3};
}  // namespace

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
      evidence_{dependencies.evidence},
      flight_{dependencies.flight},
      console_{loop_, guest_.console()},
      heartbeat_numbers_{std::move(dependencies.heartbeat_numbers)} {
  if (flight_) recorder_.emplace(*flight_, flight_->next_chunk(), flight_->next_event(), realtime_ns);
  if (!config_.fencing.agent.empty())
    fence_agent_ = FenceAgent::create(
        loop_, {.command = config_.fencing.agent, .options = config_.fencing.options, .deadline = config_.fencing.timeout});
  heartbeats_.on_message([this](Message message) { receive(message); });
  heartbeats_.on_connection([this](bool connected) { feed(input::PeerConnection{connected}); });
  // A heartbeat that found the queue full is not sent later: the next one is fresher.
  heartbeats_.on_writable([] {});
}

NodeRunner::~NodeRunner() {
  *alive_ = false;
  pill_.reset();
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
  feed(input::Tick{});
  tick_timer_ = loop_.call_at(loop_.clock().now() + kTick, [this] { tick(); });
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
    if (decoded.error().code() == ErrorCode::kCorrupt) ++corrupt_beats_;
    return;
  }
  auto heartbeat = decode_heartbeat(*decoded);
  if (!heartbeat) {
    ++malformed_;
    log(Severity::kWarning, "heartbeat refused", {{"reason", heartbeat.error().text()}});
    if (heartbeat.error().code() == ErrorCode::kCorrupt) ++corrupt_beats_;
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
  auto done = [this, alive = alive_, term = action.term](Result<void> put) {
    if (!*alive) return;
    if (put)
      feed(input::TermPersisted{term});
    else
      feed(input::StoreFailed{put.error().text()});
  };
  if (action.holding)
    store_.put_holding(action.term, std::move(done));
  else
    store_.put_term(action.term, std::move(done));
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

void NodeRunner::carry_out(const action::FencePeer& action) {
  timeline_.record("fencing", action.term);
  if (!pill_) return switch_peer_off(action.term);
  pill_->poison(action.term, config_.fencing.timeout, [this, alive = alive_, term = action.term](Result<std::string> taken) {
    loop_.post([this, alive, term, taken = std::move(taken)] {
      if (!*alive) return;
      if (!taken && fence_agent_) return switch_peer_off(term);
      fenced(term, taken);
    });
  });
}

void NodeRunner::switch_peer_off(Term term) {
  fence_agent_->run(FenceAction::kOff, [this, term](const Result<std::string>& off) { fenced(term, off); });
}

void NodeRunner::fenced(Term term, const Result<std::string>& off) {
  const std::string text = off ? *off : off.error().text();
  timeline_.record(off ? "fenced" : "not fenced", term, text);
  feed(input::PeerFenced{term, off.has_value(), text});
}

Result<void> NodeRunner::watch_for_pills(NodeIncarnation self) {
  PillConfig config;
  config.disk = *config_.fencing.shared_disk;
  config.pair = config_.pair.id;
  config.self = self;
  US_ASSIGN(pill_, PoisonPill::start(config, loop_.clock(), [this, alive = alive_](Term term) {
              loop_.post([this, alive, term] {
                if (!*alive) return;
                feed(input::Poisoned{term});
                if (const NodeStatus now = node_.status(); now.role == Role::kPrimary || now.role == Role::kSolo) return;
                // Told once the guest stands: the session's loop has done what was ordered before when it answers.
                guest_.answer([this, alive, term] {
                  if (*alive) pill_->taken(term);
                });
              });
            }));
  return {};
}

std::string NodeRunner::unfit() const {
  if (pill_ && pill_->since_read() > kPillUnread)
    return fmt::format("the shared disk was not read for {:.0f} ms: a poison pill would not be seen", to_ms(pill_->since_read()));
  return node_.status().unfit;
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

// The guest in one line: what it does here, and what there is to tell of it on either node.
std::string describe_guest(const NodeStatus& node, const std::string& here) {
  if (!node.ended.empty()) {
    if (!node.end_settled) return node.ended + "; not yet held by both nodes";
    return node.ended + "; it is not revived, `understudy start` starts it again";
  }
  return node.guest_note.empty() ? here : here + "; " + node.guest_note;
}

}  // namespace

namespace {

std::vector<Status::Probe> probe_rows(const std::vector<PathBoard::Entry>& entries, Instant now) {
  std::vector<Status::Probe> rows;
  for (const PathBoard::Entry& entry : entries) {
    const ProbeReport& report = entry.report;
    const Duration age = std::max(now - report.completed_at, Duration{});
    rows.push_back({.path = name_of(report.path),
                    .health = report.suspected ? "suspected" : name_of(report.health),
                    .text = report.text,
                    .name = entry.probe,
                    .age_ms = static_cast<std::uint64_t>(to_ms(age))});
  }
  std::ranges::stable_sort(rows, {}, [](const Status::Probe& row) { return row.path; });
  return rows;
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
  out.pacing = guest.pacing;
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
  out.scrub = guest.scrub;
  out.transfer = guest.transfer;
  for (const DiskReading& disk : guest.disks)
    out.disks.push_back({.id = disk.id,
                         .outstanding = disk.evidence.outstanding,
                         .oldest_ms = static_cast<std::uint64_t>(std::max(0.0, to_ms(disk.evidence.oldest_age))),
                         .completed = disk.evidence.completed,
                         .errors = disk.evidence.errors,
                         .last_error = disk.evidence.last_error});
  if (node.role == Role::kSecondary)
    out.durable = {.level = guest.durable.acks_are_durable ? "disk" : "memory",
                   .trouble = guest.durable.trouble,
                   .epoch = guest.durable.durable.epoch,
                   .behind_ms = static_cast<std::uint64_t>(std::max(0.0, to_ms(guest.durable.behind))),
                   .waiting_bytes = guest.durable.waiting_bytes};
  out.insecure = config_.security.insecure;
  out.links = heartbeat_numbers_();
  out.links.add(LinkNumbers{.malformed = malformed_, .stale = stale_});
  out.links.add(guest.link);
  if (evidence_) out.probes = probe_rows(evidence_->entries(), loop_.clock().now());
  return out;
}

}  // namespace understudy
