// What a node orders, carried out on the model.
#include "net/base/check.h"
#include "tests/explore/model.h"

namespace understudy::explore {

void Model::feed(World& world, std::size_t host, const Event& event) {
  Process& process = world.process[host];
  const NodeBook::Step step = book_.step(world.node[host], process.lag, event);
  world.node[host] = step.node;
  process.lag = 0;
  for (std::uint32_t i = 0; i < step.deeds; ++i) carry_out(world, host, book_.deed(step.first_deed + i));
}

void Model::carry_out(World& world, std::size_t host, const Deed& deed) {
  Process& process = world.process[host];
  const auto side = static_cast<std::uint8_t>(host);
  const auto order = [&](Order what) {
    process.order = what;
    process.order_term = deed.a;
    process.waits &= static_cast<std::uint8_t>(~kLateOrder);
  };
  switch (deed.kind) {
    case DeedKind::kRead:
      return write(world, {.kind = Letter::kRequest, .host = side, .incarnation = process.incarnation, .order = deed.c, .body = 0});
    case DeedKind::kPropose: {
      const Proposal& proposal = book_.proposal(deed.d);
      if (proposal.kind == ProposalKind::kTakeover || proposal.kind == ProposalKind::kSwitchover)
        break_rule(takeover_asked(proposal.expected_term, world.stable[host]));
      return write(world,
                   {.kind = Letter::kRequest, .host = side, .incarnation = process.incarnation, .order = deed.c, .body = deed.d + 1});
    }
    case DeedKind::kPersistPromise:
    case DeedKind::kPersistTerm:
      if (deed.kind == DeedKind::kPersistPromise) process.floor = std::max(process.floor, deed.a);
      US_CHECK(!process.writes.full());
      process.writes.push({deed.kind == DeedKind::kPersistPromise, deed.a});
      if (plant_ == Plant::kPromiseNotAwaited && deed.kind == DeedKind::kPersistPromise)
        feed(world, host, {.kind = EventKind::kPromisePersisted, .a = deed.a});
      return;
    case DeedKind::kPersistOrders:  // at once: no rule rests on them
      world.stable[host].orders = deed.b;
      return feed(world, host, {.kind = EventKind::kOrdersPersisted, .a = deed.a});
    case DeedKind::kSendHeartbeat:
      return write(world, {.kind = Letter::kHeartbeat, .host = side, .incarnation = process.incarnation, .order = deed.c, .body = deed.d});
    case DeedKind::kBoot:
      return order(Order::kBoot);
    case DeedKind::kTakeOver:
      return order(Order::kTakeOver);
    case DeedKind::kResume:
      return order(Order::kResume);
    case DeedKind::kFinish:
      order(Order::kFinish);
      return finish_guest(world, host);
    case DeedKind::kStop:
      process.guest = GuestState::kNone;
      process.order = Order::kNone;
      process.order_term = 0;
      process.waits &= static_cast<std::uint8_t>(~kLateOrder);
      return;
    case DeedKind::kStartSession:
      end_session(process);
      process.active = 1;
      process.session = world.next_session++;
      US_CHECK(world.next_session < 250);
      process.session_term = deed.a;
      process.session_peer = deed.b;
      // A guest that is still being restored has its first epoch after the image's.
      process.base = static_cast<std::uint8_t>(process.guest == GuestState::kNone ? process.image.epoch : process.open_epoch - 1);
      process.sent = process.acked = process.base;
      return hello(world, host);
    case DeedKind::kRaiseTerm:
      process.session_term = deed.a;
      if (process.up == 0) return;
      // What is not acked goes out again, under the new term.
      for (std::uint8_t epoch = static_cast<std::uint8_t>(process.acked + 1); epoch <= process.sent; ++epoch)
        send_epoch(world, host, epoch);
      return;
    case DeedKind::kStopSession:
      return end_session(process);
    case DeedKind::kAcceptSessions:
      process.accepts = 1;
      process.floor = std::max(process.floor, deed.a);
      if (deed.b == 0) return;
      process.image = {process.branch, process.final_epoch};
      process.image_whole = 1;
      process.guest = GuestState::kNone;
      end_session(process);
      return committed(world.ledger, host, process.incarnation, process.image);
    case DeedKind::kRefuseSessions:
      if (plant_ == Plant::kAcksBelowPromise) return;
      process.accepts = 0;
      process.in_session = 0;
      return;
    case DeedKind::kSetGate:
      return set_gate(world, host, deed);
    case DeedKind::kRejoin:
      process.rejoins = 1;
      return;
  }
}

void Model::set_gate(World& world, std::size_t host, const Deed& deed) {
  Process& process = world.process[host];
  process.gate = static_cast<GateMode>(deed.a);
  process.gate_term = deed.b;
  process.gate_peer = static_cast<std::uint8_t>(deed.d);
  process.gate_order = deed.c;
  // The node looks at no other answer.
  process.gate_answer_due = process.gate == GateMode::kPair;
  process.gate_answer_epoch = plant_ == Plant::kGateHidesOutput || process.gate_answer_due == 0 ? 0 : process.open_epoch;
  process.waits &= static_cast<std::uint8_t>(~kLateGateAnswer);
  if (process.gate == GateMode::kPair || process.gate == GateMode::kSolo)
    break_rule(gate_opened(world.ledger, process.incarnation, process.gate_term, process.gate == GateMode::kSolo, world.stable[host]));
  if (process.gate == GateMode::kMute) process.frames = 0;
  if (process.gate == GateMode::kSolo) release(world, host, process.frames);
}

void Model::release(World& world, std::size_t host, std::uint16_t epochs) {
  Process& process = world.process[host];
  for (std::uint8_t epoch = 0; epoch < kEpochs; ++epoch)
    if ((epochs >> epoch & 1) != 0) break_rule(released(world.ledger, host, process, {process.branch, epoch}));
  process.frames = static_cast<std::uint16_t>(process.frames & ~epochs);
}

// A switchover: the guest stands, and its last epoch goes out, whatever the bound on epochs says.
void Model::finish_guest(World& world, std::size_t host) {
  Process& process = world.process[host];
  process.guest = GuestState::kPaused;
  if (process.active != 0 && process.up != 0 && process.open_epoch + 1U < kEpochs) capture(world, host);
}

bool Model::order_ready(const Process& process) const {
  if (process.order == Order::kNone) return false;
  if (process.order != Order::kFinish || process.active == 0) return true;
  return process.sent == process.acked && process.frames == 0;
}

void Model::order_done(World& world, std::size_t host) {
  Process& process = world.process[host];
  const Order order = process.order;
  const std::uint8_t term = process.order_term;
  process.order = Order::kNone;
  process.order_term = 0;
  process.waits &= static_cast<std::uint8_t>(~kLateOrder);
  switch (order) {
    case Order::kNone:
      return;
    case Order::kFinish:
      if (process.active == 0) return feed(world, host, {.kind = EventKind::kHandoverFailed});
      process.final_epoch = process.acked;
      return feed(world, host, {.kind = EventKind::kHandoverFinished, .a = process.session_term, .b = process.acked});
    case Order::kResume:
      if (process.guest == GuestState::kNone) return;
      process.guest = GuestState::kRuns;
      break_rule(guest_resumed(world.ledger, process.incarnation, term, world.stable[host]));
      return feed(world, host, {.kind = EventKind::kGuestRunning, .a = term});
    case Order::kBoot:
    case Order::kTakeOver:
      break;
  }
  if (order == Order::kTakeOver && process.image_whole == 0) return break_rule("a guest starts from a whole image");
  const Point from = order == Order::kBoot ? Point{} : process.image;
  break_rule(guest_started(world.ledger, process.incarnation, term, from, world.stable[host]));
  process.guest = GuestState::kRuns;
  process.branch = term;
  process.open_epoch = static_cast<std::uint8_t>(from.epoch + 1);
  process.sent_in_epoch = 0;
  process.image_whole = plant_ == Plant::kAcksBelowPromise ? process.image_whole : 0;
  feed(world, host, {.kind = EventKind::kGuestRunning, .a = term});
}

}  // namespace understudy::explore
