// What operators ask of a node, one request at a time: answered here, by the guest's side, or by the node's decisions.
#include <fmt/format.h>

#include "failover/daemon/arbiter_choice.h"
#include "failover/daemon/node_runner.h"
#include "failover/daemon/preflight.h"
#include "failover/daemon/verification.h"
#include "net/base/log.h"

namespace understudy {

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
  if (command == schema::OperatorRequest::Command::EPOCHS) {
    answer({.ok = true, .sentence = "", .status = {}, .epochs = guest_.epochs(Epoch{call.from})});
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
      command == schema::OperatorRequest::Command::POWER_BUTTON || command == schema::OperatorRequest::Command::VERIFY) {
    if (const NodeStatus node = node_.status(); !node.guest_runs)
      answer({.ok = false, .sentence = not_here(config_.pair.node, node), .status = status()});
    else if (command == schema::OperatorRequest::Command::CONSOLE)
      serve_console(call, std::move(answer));
    else if (command == schema::OperatorRequest::Command::BALLOON)
      serve_balloon(call, std::move(answer));
    else if (command == schema::OperatorRequest::Command::VERIFY)
      serve_verify(std::move(answer));
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

void NodeRunner::serve_verify(OperatorServer::Answer answer) {
  log(Severity::kInfo, "operator's command", {{"command", "verify"}});
  guest_.verify([this, alive = alive_, answer = std::move(answer)](const Result<Verification>& found) {
    if (!*alive) return;
    if (!found) {
      answer({.ok = false, .sentence = "not verified: " + found.error().text(), .status = status()});
      return;
    }
    answer({.ok = found->same(), .sentence = sentence_of(*found), .status = status(), .verification = *found});
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
    facts.manual = config_.manual;
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

}  // namespace understudy
