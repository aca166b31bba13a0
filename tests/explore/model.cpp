#include "tests/explore/model.h"

#include "net/base/check.h"

namespace understudy::explore {
namespace {

const WitnessIdentity kWitness{.store = StoreId{77}, .amnesiac = false};

std::uint8_t& budget_of(World& world, Cost cost) { return world.budget[static_cast<std::size_t>(cost)]; }
bool affords(const World& world, Cost cost) { return world.budget[static_cast<std::size_t>(cost)] != 0; }
void pay(World& world, Cost cost) { --budget_of(world, cost); }
void pay_fault(World& world, Cost cost) {
  pay(world, Cost::kFault);
  pay(world, cost);
}

Link link_to_peer(std::size_t host) { return host == 0 ? kAToB : kBToA; }
Link link_to_arbiter(std::size_t host) { return host == 0 ? kAToArbiter : kBToArbiter; }

Letter remove_letter(World& world, std::size_t at) {
  const Letter letter = world.letters[at];
  for (std::size_t i = at + 1; i < world.letter_count; ++i) world.letters[i - 1] = world.letters[i];
  world.letters[--world.letter_count] = Letter{};
  return letter;
}

// Sorted: their order says nothing.
void insert_letter(World& world, const Letter& letter) {
  US_CHECK(world.letter_count < kLetters);
  std::size_t at = world.letter_count++;
  for (; at > 0 && letter < world.letters[at - 1]; --at) world.letters[at] = world.letters[at - 1];
  world.letters[at] = letter;
}

// Of those that go the same way in their order.
bool is_first(const World& world, std::size_t at) { return at == 0 || !world.letters[at].same_way(world.letters[at - 1]); }

bool to_host(const Letter& letter, std::size_t host) {
  return letter.kind == Letter::kHeartbeat ? letter.host != host : letter.kind == Letter::kReply && letter.host == host;
}

}  // namespace

World Model::new_pair() {
  World world = blank_world();
  world.arbiter = book_.number_of(WitnessPair{});
  for (std::size_t host = 0; host < 2; ++host) start(world, host);
  world.budget = bounds_.budget;
  return world;
}

bool Model::cut_off(const World& world, const Letter& letter) const {
  const Link link = letter.kind == Letter::kHeartbeat ? link_to_peer(letter.host) : link_to_arbiter(letter.host);
  return (world.cuts & link) != 0;
}

bool Model::deliverable(const World& world, const Letter& letter) const {
  if (cut_off(world, letter)) return false;
  switch (letter.kind) {
    case Letter::kHeartbeat:
      return can_receive(world, 1U - letter.host);
    case Letter::kRequest:
      return world.arbiter_down == 0;
    default:
      return can_receive(world, letter.host);
  }
}

void Model::choices(const World& world, std::vector<Choice>& out) const {
  out.clear();
  add_due(world, out);
  const bool rests = out.empty();
  add_own(world, out);
  if (rests && world.time < bounds_.horizon) out.push_back({Choice::kTick});
  if (!affords(world, Cost::kFault)) return;
  add_letter_faults(world, out);
  for (std::size_t host = 0; host < 2; ++host) add_host_faults(world, host, out);
  if (world.arbiter_down == 0 && affords(world, Cost::kArbiterCrash)) out.push_back({Choice::kArbiterDown});
  if (!affords(world, Cost::kCut)) return;
  for (const unsigned links : {unsigned{kAToB}, unsigned{kBToA}, kAToB + unsigned{kBToA}, unsigned{kAToArbiter}, unsigned{kBToArbiter}})
    if ((world.cuts & links) == 0) out.push_back({Choice::kCut, static_cast<std::uint8_t>(links)});
}

void Model::add_due(const World& world, std::vector<Choice>& out) const {
  for (std::uint8_t host = 0; host < 2; ++host) {
    const Process& process = world.process[host];
    if (!can_receive(world, host)) continue;
    if (process.rejoins != 0) out.push_back({Choice::kRejoin, host});
    if (!process.writes.empty() && (process.waits & kLateWrite) == 0) out.push_back({Choice::kWriteDone, host});
    if (process.gate_answer_due != 0 && (process.waits & kLateGateAnswer) == 0) out.push_back({Choice::kGateAnswers, host});
    if (order_ready(process) && (process.waits & kLateOrder) == 0) out.push_back({Choice::kOrderDone, host});
    if (process.owes_tick != 0) out.push_back({Choice::kTickNode, host});
  }
  for (std::uint8_t i = 0; i < world.letter_count; ++i)
    if (world.letters[i].late == 0 && is_first(world, i) && deliverable(world, world.letters[i])) out.push_back({Choice::kDeliver, i});
  for (std::uint8_t from = 0; from < 2; ++from)
    if (!world.stream[from].empty() && (world.cuts & link_to_peer(from)) == 0 && can_receive(world, 1U - from))
      out.push_back({Choice::kStream, from});
}

void Model::add_own(const World& world, std::vector<Choice>& out) const {
  for (std::uint8_t host = 0; host < 2; ++host) {
    const Process& process = world.process[host];
    if (process.incarnation == 0) {
      out.push_back({Choice::kRestart, host});
      continue;
    }
    if (process.stopped != 0) {
      out.push_back({Choice::kWake, host, 0});
      if (process.lag != 0) out.push_back({Choice::kWake, host, 1});
      continue;
    }
    const bool runs = process.guest == GuestState::kRuns && process.open_epoch + 1U < kEpochs;
    if (runs && process.sent_in_epoch == 0 && affords(world, Cost::kOutput)) out.push_back({Choice::kOutput, host});
    if (runs && process.up != 0 && process.sent - process.acked < 2 && affords(world, Cost::kCapture))
      out.push_back({Choice::kCapture, host});
    if ((process.waits & kLateWrite) != 0) out.push_back({Choice::kWriteDone, host});
    if ((process.waits & kLateGateAnswer) != 0) out.push_back({Choice::kGateAnswers, host});
    if ((process.waits & kLateOrder) != 0 && order_ready(process)) out.push_back({Choice::kOrderDone, host});
    if (world.path[host] != 0) out.push_back({Choice::kPathMended, host});
    if (!affords(world, Cost::kCommand)) continue;
    for (const CommandKind command : bounds_.commands) {
      const bool of_a_holder =
          command == CommandKind::kSwitchover || command == CommandKind::kUnprotect || command == CommandKind::kProtect;
      if (of_a_holder ? runs : command != CommandKind::kTakeover || process.image_whole != 0)
        out.push_back({Choice::kCommand, host, static_cast<std::uint8_t>(command)});
    }
  }
  for (std::uint8_t i = 0; i < world.letter_count; ++i)
    if (world.letters[i].late != 0 && deliverable(world, world.letters[i])) out.push_back({Choice::kDeliver, i});
  if (world.arbiter_down != 0) out.push_back({Choice::kArbiterUp});
  for (const Link link : {kAToB, kBToA, kAToArbiter, kBToArbiter})
    if ((world.cuts & link) != 0) out.push_back({Choice::kHeal, link});
}

void Model::add_letter_faults(const World& world, std::vector<Choice>& out) const {
  for (std::uint8_t i = 0; i < world.letter_count; ++i) {
    if (world.letters[i].late != 0) continue;
    if (affords(world, Cost::kLoss)) out.push_back({Choice::kLose, i});
    if (affords(world, Cost::kDelay)) out.push_back({Choice::kPutOff, i});
    if (affords(world, Cost::kRepeat) && is_first(world, i) && deliverable(world, world.letters[i])) out.push_back({Choice::kRepeat, i});
  }
  if (!affords(world, Cost::kFullResync)) return;
  for (std::uint8_t from = 0; from < 2; ++from)
    if (!world.stream[from].empty() && (world.cuts & link_to_peer(from)) == 0 && can_receive(world, 1U - from) &&
        world.stream[from].items[0].kind == Parcel::kWelcome && world.stream[from].items[0].image.branch != 0)
      out.push_back({Choice::kStream, from, 1});
}

void Model::add_host_faults(const World& world, std::size_t which, std::vector<Choice>& out) const {
  const auto host = static_cast<std::uint8_t>(which);
  const Process& process = world.process[host];
  if (process.incarnation == 0) return;
  if (affords(world, Cost::kCrash))
    for (std::uint8_t landed = 0; landed <= process.writes.size; ++landed) out.push_back({Choice::kCrash, host, landed});
  if (process.stopped != 0) return;
  if (affords(world, Cost::kStop)) out.push_back({Choice::kStop, host});
  if (affords(world, Cost::kDelay)) {
    if (!process.writes.empty() && (process.waits & kLateWrite) == 0) out.push_back({Choice::kPutOffLocal, host, kLateWrite});
    if (process.gate_answer_due != 0 && (process.waits & kLateGateAnswer) == 0)
      out.push_back({Choice::kPutOffLocal, host, kLateGateAnswer});
    if (process.order != Order::kNone && (process.waits & kLateOrder) == 0) out.push_back({Choice::kPutOffLocal, host, kLateOrder});
  }
  if (!process.writes.empty() && affords(world, Cost::kStoreFailure)) {
    out.push_back({Choice::kWriteFails, host, 0});
    out.push_back({Choice::kWriteFails, host, 1});
  }
  if (world.path[host] == 0 && affords(world, Cost::kPathFailure)) {
    out.push_back({Choice::kPathFails, host, static_cast<std::uint8_t>(PathState::kFailed)});
    out.push_back({Choice::kPathFails, host, static_cast<std::uint8_t>(PathState::kHangs)});
  }
  if (process.up != 0 && affords(world, Cost::kBreak)) out.push_back({Choice::kBreakSession, host});
}

Broken Model::apply(World& world, const Choice& choice) {
  broken_ = nullptr;
  Process& process = world.process[choice.a & 1];
  switch (choice.kind) {
    case Choice::kDeliver:
      deliver(world, remove_letter(world, choice.a));
      break;
    case Choice::kStream:
      if (choice.b != 0) pay_fault(world, Cost::kFullResync);
      receive(world, 1U - choice.a, world.stream[choice.a].remove(0), choice.b != 0);
      break;
    case Choice::kTickNode:
      process.owes_tick = 0;
      feed(world, choice.a, {.kind = EventKind::kTick, .a = world.path[choice.a]});
      tick_session(world, choice.a);
      break;
    case Choice::kWriteDone:
      write_done(world, choice.a, plant_ != Plant::kStoreLies, true);
      break;
    case Choice::kGateAnswers:
      process.gate_answer_due = 0;
      process.waits &= static_cast<std::uint8_t>(~kLateGateAnswer);
      feed(world, choice.a, {.kind = EventKind::kGateSet, .a = process.gate_answer_epoch, .c = process.gate_order});
      break;
    case Choice::kOrderDone:
      order_done(world, choice.a);
      break;
    case Choice::kRejoin:
      crash(world, choice.a, 0);
      start(world, choice.a);
      break;
    case Choice::kOutput:
      pay(world, Cost::kOutput);
      output(world, choice.a);
      break;
    case Choice::kCapture:
      pay(world, Cost::kCapture);
      capture(world, choice.a);
      break;
    case Choice::kTick:
      pass_time(world);
      break;
    case Choice::kRestart:
      start(world, choice.a);
      break;
    case Choice::kWake:
      process.stopped = 0;
      process.owes_tick = process.lag != 0;
      if (choice.b != 0) feed(world, choice.a, {.kind = EventKind::kLoopGap});
      break;
    case Choice::kArbiterUp:
      world.arbiter_down = 0;
      break;
    case Choice::kHeal:
      world.cuts &= static_cast<std::uint8_t>(~choice.a);
      break;
    case Choice::kPathMended:
      world.path[choice.a] = 0;
      break;
    case Choice::kCommand:
      pay(world, Cost::kCommand);
      feed(world, choice.a, {.kind = EventKind::kCommand, .a = choice.b, .b = world.next_command++});
      break;
    case Choice::kLose:
      pay_fault(world, Cost::kLoss);
      remove_letter(world, choice.a);
      break;
    case Choice::kPutOff:
    case Choice::kRepeat: {
      pay_fault(world, choice.kind == Choice::kPutOff ? Cost::kDelay : Cost::kRepeat);
      Letter letter = remove_letter(world, choice.a);
      const Letter now = letter;
      letter.late = 1;
      insert_letter(world, letter);
      if (choice.kind == Choice::kRepeat) deliver(world, now);
      break;
    }
    case Choice::kPutOffLocal:
      pay_fault(world, Cost::kDelay);
      process.waits |= choice.b;
      break;
    case Choice::kWriteFails:
      pay_fault(world, Cost::kStoreFailure);
      write_done(world, choice.a, choice.b != 0, false);
      break;
    case Choice::kCrash:
      pay_fault(world, Cost::kCrash);
      crash(world, choice.a, choice.b);
      break;
    case Choice::kStop:
      pay_fault(world, Cost::kStop);
      process.stopped = 1;
      process.owes_tick = 0;
      break;
    case Choice::kArbiterDown:
      pay_fault(world, Cost::kArbiterCrash);
      world.arbiter_down = 1;
      if (plant_ == Plant::kArbiterForgets && world.arbiter_before != 0) world.arbiter = world.arbiter_before - 1;
      drop_letters(world, [](const World&, const Letter& letter) { return letter.late == 0 && letter.kind == Letter::kRequest; });
      break;
    case Choice::kCut:
      pay_fault(world, Cost::kCut);
      cut(world, choice.a);
      break;
    case Choice::kPathFails:
      pay_fault(world, Cost::kPathFailure);
      world.path[choice.a] = choice.b;
      break;
    case Choice::kBreakSession:
      pay_fault(world, Cost::kBreak);
      break_session(world, choice.a);
      break;
  }
  return broken_;
}

void Model::write(World& world, const Letter& letter) {
  if (cut_off(world, letter)) return;
  if (letter.kind == Letter::kHeartbeat && world.process[1U - letter.host].incarnation == 0) return;
  if (letter.kind == Letter::kRequest && world.arbiter_down != 0) return;
  insert_letter(world, letter);
}

void Model::deliver(World& world, const Letter& letter) {
  switch (letter.kind) {
    case Letter::kHeartbeat:
      return feed(world, 1U - letter.host, {.kind = EventKind::kHeartbeat, .d = letter.body});
    case Letter::kRequest:
      return arbitrate(world, letter);
    default:
      return feed(world, letter.host, {.kind = EventKind::kAnswer, .c = letter.order, .d = letter.body});
  }
}

void Model::drop_letters(World& world, bool (*gone)(const World&, const Letter&)) {
  for (std::size_t i = world.letter_count; i > 0; --i)
    if (gone(world, world.letters[i - 1])) remove_letter(world, i - 1);
}

// The real rules decide, unless a bug is planted.
void Model::arbitrate(World& world, const Letter& request) {
  WitnessPair pair = book_.pair(world.arbiter);
  ArbiterAnswer answer = answer_read(pair, kWitness);
  if (request.body != 0) {
    const Proposal& proposal = book_.proposal(request.body - 1);
    if (plant_ == Plant::kArbiterGrantsToAnyone && pair.record) pair.record->eligible = {pair.record->holder, proposal.proposer};
    if (plant_ == Plant::kArbiterGrantsTwice && world.arbiter_before != 0) {
      const WitnessPair& before = book_.pair(world.arbiter_before - 1);
      if (before.record && before.record->term == proposal.expected_term) pair = before;
    }
    WitnessDecision decision = decide(pair, proposal, kWitness);
    if (decision.changed && decision.changed->record) {
      ArbiterRecord& record = *decision.changed->record;
      if (plant_ == Plant::kSoloStrikesNobody && record.mode == PairMode::kSolo && pair.record)
        for (const NodeIncarnation& node : pair.record->eligible)
          if (node.node != record.holder.node) record.eligible.push_back(node);
      decision.answer.record = record;
      US_CHECK(record.term.raw() < kTerms);
      const auto holder = static_cast<std::size_t>(record.holder.node);
      const Process& process = world.process[holder];
      if (record.request == proposal.request)
        break_rule(granted(world.ledger, record, process.incarnation == record.holder.incarnation.raw(),
                           process.image_whole != 0 ? &process.image : nullptr));
    }
    if (decision.changed) {
      if (plant_ != Plant::kNothing) world.arbiter_before = world.arbiter + 1;
      world.arbiter = book_.number_of(*decision.changed);
    }
    answer = decision.answer;
  }
  const Letter reply{.kind = Letter::kReply,
                     .host = request.host,
                     .incarnation = request.incarnation,
                     .order = request.order,
                     .body = book_.number_of(answer)};
  if (world.process[request.host].incarnation == request.incarnation) write(world, reply);
}

void Model::start(World& world, std::size_t host) {
  Process& process = world.process[host];
  process.incarnation = world.next_incarnation++;
  world.node[host] = book_.fresh(static_cast<NodeId>(host));
  const Stable& stable = world.stable[host];
  feed(world, host,
       {.kind = EventKind::kStarted,
        .a = process.incarnation,
        .b = stable.term,
        .c = stable.promise,
        .d = std::uint32_t{stable.orders} << 16 | std::uint32_t{stable.committed_term} << 8 | stable.committed_epoch});
}

void Model::crash(World& world, std::size_t host, std::uint8_t landed) {
  Process& process = world.process[host];
  for (std::uint8_t i = 0; i < landed; ++i) {
    const Write write = process.writes.items[i];
    std::uint8_t& stored = write.is_promise != 0 ? world.stable[host].promise : world.stable[host].term;
    if (plant_ != Plant::kStoreLies) stored = std::max(stored, write.value);
  }
  process = Process{};
  world.node[host] = kNoNode;
  world.stream[1 - host].clear();
  // What was under way to it finds nobody; an answer is never for another process.
  drop_letters(world, [](const World& now, const Letter& letter) {
    for (std::size_t dead = 0; dead < 2; ++dead)
      if (now.process[dead].incarnation == 0 && to_host(letter, dead) && (letter.late == 0 || letter.kind == Letter::kReply)) return true;
    return false;
  });
}

void Model::write_done(World& world, std::size_t host, bool lands, bool answers) {
  Process& process = world.process[host];
  const Write write = process.writes.remove(0);
  process.waits &= static_cast<std::uint8_t>(~kLateWrite);
  std::uint8_t& stored = write.is_promise != 0 ? world.stable[host].promise : world.stable[host].term;
  if (lands) stored = std::max(stored, write.value);
  if (!answers) return feed(world, host, {.kind = EventKind::kStoreFailed});
  feed(world, host, {.kind = write.is_promise != 0 ? EventKind::kPromisePersisted : EventKind::kTermPersisted, .a = write.value});
}

void Model::pass_time(World& world) {
  ++world.time;
  for (Process& process : world.process) {
    if (process.incarnation == 0) continue;
    ++process.lag;
    process.owes_tick = process.stopped == 0;
  }
}

void Model::cut(World& world, std::uint8_t links) {
  world.cuts |= links;
  drop_letters(world, [](const World& now, const Letter& letter) {
    const Link link = letter.kind == Letter::kHeartbeat ? link_to_peer(letter.host) : link_to_arbiter(letter.host);
    return letter.late == 0 && (now.cuts & link) != 0;
  });
}

}  // namespace understudy::explore
