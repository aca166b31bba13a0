// The modelled session, gate and guest of a simulated host.
#include <algorithm>

#include "tests/sim/host.h"

namespace understudy::sim {
namespace {

constexpr Duration kEpochLength = ms(25);
constexpr Duration kAckTimeout = ms(600);
constexpr std::size_t kWindow = 4;

SessionMessage make(SessionMessage::Kind kind, Session session, Term term, Incarnation receiver = {}, Epoch epoch = {}) {
  SessionMessage message;
  message.kind = kind;
  message.session = session;
  message.term = term;
  message.receiver = receiver;
  message.epoch = epoch;
  return message;
}

// Whether a guest's past is a beginning of the other's.
bool begins(const GuestImage& image, const History& history) {
  return image.length <= history.size() &&
         std::equal(history.begin(), history.begin() + static_cast<std::ptrdiff_t>(image.length), image.history->begin());
}

}  // namespace

void Host::send(SessionMessage message) {
  message.sender = incarnation_;
  network_.send(place_, peer_place_,
                [peer = peer_, message = std::move(message)] { peer->receive([peer, message] { peer->receive_session(message); }); });
}

void Host::receive_session(const SessionMessage& message) {
  using Kind = SessionMessage::Kind;
  switch (message.kind) {
    case Kind::kHello:
      return on_hello(message);
    case Kind::kOverwrite:
      if (!in_.accepting || message.session != in_.session || message.term < in_.floor || message.epoch <= in_.newest) return;
      return overwrite();
    case Kind::kEpoch:
      return on_epoch(message);
    case Kind::kWelcome:
      return on_welcome(message);
    case Kind::kRefuse:
      if (!out_.active || message.session != out_.session) return;
      out_.active = false;
      return feed(input::SessionRefused{message.term, "simulated: below the floor"});
    case Kind::kAck:
      return on_ack(message);
  }
}

void Host::on_welcome(const SessionMessage& message) {
  if (!out_.active || out_.up || message.session != out_.session || message.sender != out_.peer) return;
  out_.up = true;
  out_.acked_at = engine_.now();
  out_.full = !message.image.history || !begins(message.image, *guest_.history) || engine_.random.chance(0.3);
  out_.peer_has = message.image.at.epoch;
  out_.full_until = engine_.now() + (out_.full ? engine_.random.between(ms(30), ms(400)) : Duration{});
  trace(out_.full ? "session is up, sends everything" : "session is up, catches up");
  feed(input::SessionUp{out_.session, out_.term, out_.peer});
}

void Host::on_hello(const SessionMessage& message) {
  using Kind = SessionMessage::Kind;
  if (!in_.accepting || message.receiver != incarnation_) return;
  if (message.term < in_.floor && options_.bug != Bug::kAcksAfterTakeover)
    return send(make(Kind::kRefuse, message.session, in_.floor, Incarnation{}, Epoch{}));
  if (message.session != in_.session) {
    in_.session = message.session;
    in_.term = message.term;
    in_.newest = message.epoch;
    in_.overwriting = false;
    feed(input::SessionUp{message.session, message.term, message.sender});
  }
  SessionMessage welcome = make(Kind::kWelcome, message.session, message.term);
  if (image_whole_) welcome.image = image_;
  send(std::move(welcome));
}

void Host::on_epoch(const SessionMessage& message) {
  using Kind = SessionMessage::Kind;
  if (!in_.accepting || message.session != in_.session) return;
  if (message.term < in_.floor && options_.bug != Bug::kAcksAfterTakeover)
    return send(make(Kind::kRefuse, message.session, in_.floor, Incarnation{}, Epoch{}));
  feed(input::SessionActivity{});
  in_.term = std::max(in_.term, message.term);
  if (message.epoch > in_.newest) {
    if (message.full && !in_.overwriting) overwrite();
    const bool builds_on_ours = message.full ? in_.overwriting : image_whole_ && image_.at.epoch == message.previous;
    if (!builds_on_ours) return;  // resent in order
    in_.newest = message.epoch;
    in_.overwriting = false;
    image_ = message.image;
    image_.at = {message.term, message.epoch};
    image_whole_ = true;
    stored_committed_ = image_.at;
    oracle_.committed(self(), image_);
    feed(input::EpochCommitted{in_.session, image_.at});
  }
  if (image_whole_) send(make(Kind::kAck, in_.session, message.term, Incarnation{}, image_.at.epoch));
}

// A full transfer writes over the image held so far.
void Host::overwrite() {
  in_.overwriting = true;
  image_whole_ = false;
  oracle_.image_lost(self());
  feed(input::ImageOverwritten{});
}

void Host::on_ack(const SessionMessage& message) {
  const bool current = out_.active && message.session == out_.session && message.sender == out_.peer;
  const bool counts = current && gate_.mode == GateMode::kPair && message.term == gate_.term && message.sender == gate_.peer;
  if (current && message.epoch > out_.acked && message.epoch <= out_.sent) {
    while (out_.acked < message.epoch) {
      out_.acked = after(out_.acked);
      out_.unacked.pop_front();
    }
    out_.acked_at = engine_.now();
    feed(input::EpochCommitted{out_.session, {out_.term, out_.acked}});
  }
  if (counts) open_gate_to(options_.bug == Bug::kAckOpensTooMuch ? after(message.epoch) : message.epoch);
}

void Host::open_gate_to(Epoch epoch) {
  while (!gate_queue_.empty() && gate_queue_.front().epoch <= epoch) {
    release(gate_queue_.front());
    gate_queue_.pop_front();
  }
}

void Host::release(const OutputFrame& frame) {
  oracle_.released(self(), gate_.term, gate_.mode, frame, *guest_.history, path_works_[static_cast<std::size_t>(ProbePath::kServiceNic)]);
}

void Host::emit_output() {
  const OutputFrame frame{guest_.history->size(), engine_.random.next(), open_epoch_};
  guest_.history->push_back(frame.content);
  if (gate_.mode == GateMode::kSolo || (options_.bug == Bug::kGateAlwaysOpen && gate_.mode == GateMode::kPair)) {
    release(frame);
  } else if (gate_.mode != GateMode::kMute) {
    gate_queue_.push_back(frame);
  }
}

// The guest's life, and the end of an epoch.
void Host::epoch_turn() {
  const Duration first = engine_.random.between(ms(3), kEpochLength - ms(3));
  timer(first, [this, rest = kEpochLength - first] {
    if (guest_.running && engine_.random.chance(0.7)) emit_output();
    timer(rest, [this] {
      if (guest_.running && engine_.random.chance(0.5)) emit_output();
      capture();
      epoch_turn();
    });
  });
}

void Host::capture() {
  using Kind = SessionMessage::Kind;
  if (!out_.active || !guest_.exists) return;
  if (!out_.based) {
    out_.based = true;
    out_.sent = out_.acked = out_.base = Epoch{open_epoch_.raw() - 1};
  }
  if (!out_.up) return send(make(Kind::kHello, out_.session, out_.term, out_.peer, out_.base));
  if (out_.full && !out_.overwritten) {
    out_.overwritten = true;
    send(make(Kind::kOverwrite, out_.session, out_.term, out_.peer, after(out_.base)));
  }
  if (engine_.now() < out_.full_until) {
    out_.acked_at = engine_.now();
    return;
  }
  if (!out_.unacked.empty() && engine_.now() - out_.acked_at > kAckTimeout) {
    out_.active = false;
    return feed(input::SessionBroken{"simulated: no ack"});
  }
  resend();
  if (!guest_.running || out_.unacked.size() >= kWindow) return;
  if (out_.unacked.empty()) out_.acked_at = engine_.now();
  out_.sent = open_epoch_;
  out_.unacked.push_back({guest_.history, guest_.history->size(), {out_.term, out_.sent}});
  open_epoch_ = after(out_.sent);
  send_epoch(out_.sent, out_.unacked.back());
}

void Host::send_epoch(Epoch epoch, const GuestImage& image) {
  SessionMessage message = make(SessionMessage::Kind::kEpoch, out_.session, out_.term, out_.peer, epoch);
  message.image = image;
  const bool first = epoch == after(out_.base);
  message.full = out_.full && first;
  message.previous = first ? out_.peer_has : Epoch{epoch.raw() - 1};
  send(std::move(message));
}

void Host::resend() {
  Epoch epoch = out_.acked;
  for (const GuestImage& image : out_.unacked) {
    epoch = after(epoch);
    send_epoch(epoch, image);
  }
}

void Host::carry_out(const action::StartSession& action) {
  out_ = {};
  out_.active = true;
  out_.session = Session{engine_.random.next() | 1};
  out_.term = action.term;
  out_.peer = action.peer.incarnation;
  trace("starts a session");
}

void Host::carry_out(const action::RaiseSessionTerm& action) { out_.term = action.term; }
void Host::carry_out(const action::StopSession&) { out_ = {}; }

void Host::carry_out(const action::AcceptSessions& action) {
  in_.accepting = true;
  in_.floor = std::max(in_.floor, action.floor);
  if (!action.keep_image) return;
  image_ = {guest_.history, guest_.history->size(), final_epoch_};
  image_whole_ = true;
  guest_ = {};
  out_ = {};
  trace("keeps its image of " + std::to_string(image_.length));
  oracle_.committed(self(), image_);
  if (!engine_.random.chance(0.1)) return;
  image_whole_ = false;  // the host could not keep it after all
  oracle_.image_lost(self());
  timer(Duration{}, [this] { feed(input::ImageOverwritten{}); });
}

void Host::carry_out(const action::RefuseSessions&) {
  if (options_.bug != Bug::kAcksAfterTakeover) in_.accepting = false;
}

void Host::break_session() {
  receive([this] {
    if (!out_.active || !out_.up) return;
    out_.active = false;
    feed(input::SessionBroken{"simulated: broken"});
  });
}

void Host::carry_out(const action::SetGate& action) {
  gate_ = action;
  if (options_.verbose) trace(std::string{"gate "} + name_of(action.mode) + " term " + std::to_string(action.term.raw()));
  if (action.mode == GateMode::kMute) gate_queue_.clear();
  if (action.mode == GateMode::kSolo) open_gate_to(Epoch{~std::uint64_t{0}});
  const Epoch open = options_.bug == Bug::kProtectTooEarly ? Epoch{} : open_epoch_;
  timer(engine_.random.between(ms(0.1), ms(3)), [this, order = action.order, open] { feed(input::GateSet{order, open}); });
}

void Host::carry_out(const action::FinishGuest&) {
  guest_.running = false;
  if (out_.active && out_.up) {
    out_.sent = open_epoch_;
    out_.unacked.push_back({guest_.history, guest_.history->size(), {out_.term, out_.sent}});
    open_epoch_ = after(out_.sent);
    resend();
  }
  finish_guest_when_committed(engine_.now() + ms(1000));
}

void Host::finish_guest_when_committed(Instant deadline) {
  timer(ms(2), [this, deadline] {
    if (!guest_.exists || guest_.running) return;
    if (!out_.active || engine_.now() > deadline) return feed(input::HandoverFailed{"simulated: the final epoch did not commit"});
    if (out_.unacked.empty() && gate_queue_.empty()) {
      final_epoch_ = {out_.term, out_.acked};
      return feed(input::HandoverFinished{final_epoch_});
    }
    finish_guest_when_committed(deadline);
  });
}

}  // namespace understudy::sim
