// The modelled session: epochs, acks, and the image. As in replication/, in the small: one frame an epoch, images by reference.
#include "tests/explore/model.h"

namespace understudy::explore {
namespace {

constexpr std::uint8_t kWindow = 2;          // epochs under way
constexpr std::uint8_t kAnswerDeadline = 3;  // ticks without an ack: the session is over

Point reached(const Process& process, std::uint8_t epoch) { return {process.branch, epoch}; }

}  // namespace

void Model::end_session(Process& process) {
  process.active = process.up = process.full = process.overwritten = process.unanswered = process.peer_has = 0;
  process.session = process.session_term = process.session_peer = process.base = process.sent = process.acked = 0;
}

// A stream that is full has lost its connection's patience: what does not fit is lost, as when it breaks.
void Model::send(World& world, std::size_t host, Parcel parcel) {
  parcel.sender = world.process[host].incarnation;
  if (world.process[1 - host].incarnation == 0 || world.stream[host].full()) return;
  world.stream[host].push(parcel);
}

void Model::hello(World& world, std::size_t host) {
  const Process& process = world.process[host];
  const auto& stream = world.stream[host];
  for (std::size_t i = 0; i < stream.size; ++i)
    if (stream.items[i].kind == Parcel::kHello && stream.items[i].session == process.session) return;
  send(world, host,
       {.kind = Parcel::kHello,
        .session = process.session,
        .term = process.session_term,
        .receiver = process.session_peer,
        .epoch = process.base});
}

// Whatever the guest sends in one epoch is one frame.
void Model::output(World& world, std::size_t host) {
  Process& process = world.process[host];
  process.sent_in_epoch = 1;
  if (process.gate == GateMode::kMute) return;
  process.frames = static_cast<std::uint16_t>(process.frames | 1U << process.open_epoch);
  const bool open = process.gate == GateMode::kSolo || (plant_ == Plant::kGateOpensTooEarly && process.gate == GateMode::kPair);
  if (open) release(world, host, process.frames);
}

void Model::capture(World& world, std::size_t host) {
  Process& process = world.process[host];
  if (process.full != 0 && process.overwritten == 0) {
    process.overwritten = 1;
    send(world, host,
         {.kind = Parcel::kOverwrite,
          .session = process.session,
          .term = process.session_term,
          .receiver = process.session_peer,
          .epoch = static_cast<std::uint8_t>(process.base + 1)});
  }
  if (process.sent == process.acked) process.unanswered = 0;
  process.sent = process.open_epoch;
  ++process.open_epoch;
  process.sent_in_epoch = 0;
  send_epoch(world, host, process.sent);
}

void Model::send_epoch(World& world, std::size_t host, std::uint8_t epoch) {
  const Process& process = world.process[host];
  const bool first = epoch == process.base + 1;
  send(world, host,
       {.kind = Parcel::kEpoch,
        .session = process.session,
        .term = process.session_term,
        .receiver = process.session_peer,
        .epoch = epoch,
        .full = static_cast<std::uint8_t>(process.full != 0 && first),
        .previous = first ? process.peer_has : static_cast<std::uint8_t>(epoch - 1),
        .image = reached(process, epoch)});
}

void Model::receive(World& world, std::size_t host, const Parcel& parcel, bool full_resync) {
  Process& process = world.process[host];
  const bool current = process.active != 0 && parcel.session == process.session && parcel.sender == process.session_peer;
  switch (parcel.kind) {
    case Parcel::kWelcome: {
      if (!current || process.up != 0) return;
      // A short transfer needs an image from this guest's own past.
      const Point ours = process.guest == GuestState::kNone ? process.image : reached(process, process.base);
      const bool behind = parcel.image.branch != 0 && in_past_of(world.ledger, parcel.image, ours);
      process.up = 1;
      process.full = behind && !full_resync ? 0 : 1;
      process.peer_has = parcel.image.epoch;
      process.unanswered = 0;
      return feed(world, host, {.kind = EventKind::kSessionUp, .a = process.session, .b = process.session_term, .c = process.session_peer});
    }
    case Parcel::kRefuse:
      if (!current) return;
      end_session(process);
      return feed(world, host, {.kind = EventKind::kSessionRefused, .a = parcel.term});
    case Parcel::kAck: {
      const bool counts =
          current && process.gate == GateMode::kPair && parcel.term == process.gate_term && parcel.sender == process.gate_peer;
      const bool opens = counts || (plant_ == Plant::kForeignAckCounts && process.gate == GateMode::kPair);
      // The gate belongs to the session's loop: it opens before the node hears of the ack.
      if (opens) {
        const unsigned up_to = parcel.epoch + (plant_ == Plant::kAckOpensTooMuch ? 1U : 0U);
        release(world, host, static_cast<std::uint16_t>(process.frames & ((2U << up_to) - 1)));
      }
      if (!current || parcel.epoch <= process.acked || parcel.epoch > process.sent) return;
      process.acked = parcel.epoch;
      process.unanswered = 0;
      return feed(world, host, {.kind = EventKind::kEpochCommitted, .a = process.session, .b = process.session_term, .c = parcel.epoch});
    }
    default:
      return receive_as_secondary(world, host, parcel);
  }
}

void Model::receive_as_secondary(World& world, std::size_t host, const Parcel& parcel) {
  Process& process = world.process[host];
  if (process.accepts == 0 || parcel.receiver != process.incarnation) return;
  const bool below = parcel.term < process.floor && plant_ != Plant::kAcksBelowPromise;
  if (parcel.kind != Parcel::kHello && parcel.session != process.in_session) return;
  if (below && parcel.kind != Parcel::kOverwrite)
    return send(world, host, {.kind = Parcel::kRefuse, .session = parcel.session, .term = process.floor});
  if (parcel.kind == Parcel::kHello) {
    if (parcel.session != process.in_session) {
      process.in_session = parcel.session;
      process.newest = parcel.epoch;
      process.overwriting = 0;
      feed(world, host, {.kind = EventKind::kSessionUp, .a = parcel.session, .b = parcel.term, .c = parcel.sender});
    }
    Parcel welcome{.kind = Parcel::kWelcome, .session = parcel.session, .term = parcel.term};
    if (process.image_whole != 0) welcome.image = process.image;
    return send(world, host, welcome);
  }
  if (parcel.kind == Parcel::kOverwrite) {
    if (below || parcel.epoch <= process.newest) return;
    process.overwriting = 1;
    process.image_whole = 0;
    world.ledger.held_by[host] = 0;
    world.ledger.held[host] = {};
    return feed(world, host, {.kind = EventKind::kImageOverwritten});
  }
  if (parcel.epoch > process.newest) {
    const bool builds_on_ours =
        parcel.full != 0 ? process.overwriting != 0 : process.image_whole != 0 && process.image.epoch == parcel.previous;
    if (!builds_on_ours) return;
    process.newest = parcel.epoch;
    process.overwriting = 0;
    process.image = parcel.image;
    process.image_whole = 1;
    committed(world.ledger, host, process.incarnation, process.image);
    world.stable[host].committed_term = parcel.term;  // kept without a sync: a crash may find any of them
    world.stable[host].committed_epoch = parcel.epoch;
    feed(world, host, {.kind = EventKind::kEpochCommitted, .a = process.in_session, .b = parcel.term, .c = parcel.epoch});
  }
  if (process.image_whole == 0) return;
  break_rule(acked(parcel.term, world.stable[host]));
  send(world, host, {.kind = Parcel::kAck, .session = process.in_session, .term = parcel.term, .epoch = process.image.epoch});
}

void Model::tick_session(World& world, std::size_t host) {
  Process& process = world.process[host];
  if (process.active == 0) return;
  if (process.up == 0) return hello(world, host);
  if (process.sent == process.acked || ++process.unanswered < kAnswerDeadline) return;
  break_session(world, host);
}

void Model::break_session(World& world, std::size_t host) {
  end_session(world.process[host]);
  feed(world, host, {.kind = EventKind::kSessionBroken});
}

}  // namespace understudy::explore
