#include "tests/sim/model_guest.h"

#include <algorithm>

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

void ModelGuest::send(SessionMessage message) {
  message.sender = host_.self.incarnation;
  host_.send(std::move(message));
}

void ModelGuest::receive(const PeerMessage& any) {
  const auto& message = std::get<SessionMessage>(any);
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
      return host_.feed(input::SessionRefused{message.term, "simulated: below the floor"});
    case Kind::kAck:
      return on_ack(message);
  }
}

void ModelGuest::on_welcome(const SessionMessage& message) {
  if (!out_.active || out_.up || message.session != out_.session || message.sender != out_.peer) return;
  out_.up = true;
  out_.acked_at = now();
  out_.full = !message.image.history || !begins(message.image, *guest_.history) || random().chance(0.3);
  out_.peer_has = message.image.at.epoch;
  out_.full_until = now() + (out_.full ? random().between(ms(30), ms(400)) : Duration{});
  host_.trace(out_.full ? "session is up, sends everything" : "session is up, catches up");
  host_.feed(input::SessionUp{out_.session, out_.term, out_.peer});
}

void ModelGuest::on_hello(const SessionMessage& message) {
  using Kind = SessionMessage::Kind;
  if (!in_.accepting || message.receiver != host_.self.incarnation) return;
  if (message.term < in_.floor && host_.options.bug != Bug::kAcksAfterTakeover)
    return send(make(Kind::kRefuse, message.session, in_.floor, Incarnation{}, Epoch{}));
  if (message.session != in_.session) {
    in_.session = message.session;
    in_.term = message.term;
    in_.newest = message.epoch;
    in_.overwriting = false;
    host_.feed(input::SessionUp{message.session, message.term, message.sender});
  }
  SessionMessage welcome = make(Kind::kWelcome, message.session, message.term);
  if (image_whole_) welcome.image = image_;
  send(std::move(welcome));
}

void ModelGuest::on_epoch(const SessionMessage& message) {
  using Kind = SessionMessage::Kind;
  if (!in_.accepting || message.session != in_.session) return;
  if (message.term < in_.floor && host_.options.bug != Bug::kAcksAfterTakeover)
    return send(make(Kind::kRefuse, message.session, in_.floor, Incarnation{}, Epoch{}));
  host_.feed(input::SessionActivity{});
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
    host_.oracle.committed(host_.self, image_);
    host_.feed(input::EpochCommitted{in_.session, image_.at, host_.options.bug == Bug::kEndNotTold ? "" : image_.ended});
  }
  if (image_whole_) send(make(Kind::kAck, in_.session, message.term, Incarnation{}, image_.at.epoch));
}

// A full transfer writes over the image held so far.
void ModelGuest::overwrite() {
  in_.overwriting = true;
  image_whole_ = false;
  host_.oracle.image_lost(host_.self);
  host_.feed(input::ImageOverwritten{});
}

void ModelGuest::on_ack(const SessionMessage& message) {
  const bool current = out_.active && message.session == out_.session && message.sender == out_.peer;
  const bool counts = current && gate_.mode == GateMode::kPair && message.term == gate_.term && message.sender == gate_.peer;
  if (current && message.epoch > out_.acked && message.epoch <= out_.sent) {
    std::string ended;
    while (out_.acked < message.epoch) {
      out_.acked = after(out_.acked);
      ended = out_.unacked.front().ended;
      out_.unacked.pop_front();
    }
    out_.acked_at = now();
    if (host_.options.bug == Bug::kEndToldTooEarly) ended = guest_.ended;
    host_.feed(input::EpochCommitted{out_.session, {out_.term, out_.acked}, ended});
  }
  if (counts) open_gate_to(host_.options.bug == Bug::kAckOpensTooMuch ? after(message.epoch) : message.epoch);
}

void ModelGuest::open_gate_to(Epoch epoch) {
  while (!gate_queue_.empty() && gate_queue_.front().epoch <= epoch) {
    release(gate_queue_.front());
    gate_queue_.pop_front();
  }
}

void ModelGuest::release(const OutputFrame& frame) {
  host_.oracle.released(host_.self, gate_.term, gate_.mode, frame, *guest_.history, host_.service_works());
}

void ModelGuest::emit_output() {
  const OutputFrame frame{guest_.history->size(), random().next(), open_epoch_};
  guest_.history->push_back(frame.content);
  if (gate_.mode == GateMode::kSolo || (host_.options.bug == Bug::kGateAlwaysOpen && gate_.mode == GateMode::kPair)) {
    release(frame);
  } else if (gate_.mode != GateMode::kMute) {
    gate_queue_.push_back(frame);
  }
}

// The guest's life, and the end of an epoch.
void ModelGuest::epoch_turn() {
  const Duration first = random().between(ms(3), kEpochLength - ms(3));
  host_.timer(first, [this, rest = kEpochLength - first] {
    if (guest_.running && random().chance(0.7)) emit_output();
    host_.timer(rest, [this] {
      if (guest_.running && random().chance(0.5)) emit_output();
      capture();
      epoch_turn();
    });
  });
}

void ModelGuest::capture() {
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
  if (now() < out_.full_until) {
    out_.acked_at = now();
    return;
  }
  if (!out_.unacked.empty() && now() - out_.acked_at > kAckTimeout) {
    out_.active = false;
    return host_.feed(input::SessionBroken{"simulated: no ack"});
  }
  resend();
  if ((!guest_.running && guest_.ended.empty()) || out_.unacked.size() >= kWindow) return;
  if (out_.unacked.empty()) out_.acked_at = now();
  out_.sent = open_epoch_;
  out_.unacked.push_back(image_now());
  open_epoch_ = after(out_.sent);
  send_epoch(out_.sent, out_.unacked.back());
}

void ModelGuest::send_epoch(Epoch epoch, const GuestImage& image) {
  SessionMessage message = make(SessionMessage::Kind::kEpoch, out_.session, out_.term, out_.peer, epoch);
  message.image = image;
  const bool first = epoch == after(out_.base);
  message.full = out_.full && first;
  message.previous = first ? out_.peer_has : Epoch{epoch.raw() - 1};
  send(std::move(message));
}

void ModelGuest::resend() {
  Epoch epoch = out_.acked;
  for (const GuestImage& image : out_.unacked) {
    epoch = after(epoch);
    send_epoch(epoch, image);
  }
}

void ModelGuest::carry_out(const action::StartSession& action) {
  out_ = {};
  out_.active = true;
  out_.session = Session{random().next() | 1};
  out_.term = action.term;
  out_.peer = action.peer.incarnation;
  host_.trace("starts a session");
}

void ModelGuest::promise(Term promised) { in_.floor = std::max(in_.floor, promised); }

void ModelGuest::carry_out(const action::RaiseSessionTerm& action) { out_.term = action.term; }
void ModelGuest::carry_out(const action::StopSession&) { out_ = {}; }

void ModelGuest::carry_out(const action::AcceptSessions& action) {
  in_.accepting = true;
  in_.floor = std::max(in_.floor, action.floor);
  if (!action.keep_image) return;
  image_ = {guest_.history, guest_.history->size(), final_epoch_, {}};
  image_whole_ = true;
  guest_ = {};
  out_ = {};
  host_.trace("keeps its image of " + std::to_string(image_.length));
  host_.oracle.committed(host_.self, image_);
  if (!random().chance(0.1)) return;
  image_whole_ = false;  // the host could not keep it after all
  host_.oracle.image_lost(host_.self);
  host_.timer(Duration{}, [this] { host_.feed(input::ImageOverwritten{}); });
}

void ModelGuest::carry_out(const action::RefuseSessions&) {
  if (host_.options.bug == Bug::kAcksAfterTakeover) return;
  in_.accepting = false;
  in_.session = Session{};
}

void ModelGuest::break_session() {
  if (!out_.active || !out_.up) return;
  out_.active = false;
  host_.feed(input::SessionBroken{"simulated: broken"});
}

void ModelGuest::carry_out(const action::SetGate& action) {
  gate_ = action;
  if (host_.options.verbose) host_.trace(std::string{"gate "} + name_of(action.mode) + " term " + std::to_string(action.term.raw()));
  if (action.mode == GateMode::kMute) gate_queue_.clear();
  if (action.mode == GateMode::kSolo) open_gate_to(Epoch{~std::uint64_t{0}});
  const Epoch open = host_.options.bug == Bug::kProtectTooEarly ? Epoch{} : open_epoch_;
  host_.timer(random().between(ms(0.1), ms(3)), [this, order = action.order, open] { host_.feed(input::GateSet{order, open}); });
}

void ModelGuest::carry_out(const action::FinishGuest&) {
  if (!guest_.ended.empty()) return host_.feed(input::HandoverFailed{guest_.ended});
  guest_.running = false;
  if (out_.active && out_.up) {
    out_.sent = open_epoch_;
    out_.unacked.push_back(image_now());
    open_epoch_ = after(out_.sent);
    resend();
  }
  finish_guest_when_committed(now() + ms(1000));
}

void ModelGuest::finish_guest_when_committed(Instant deadline) {
  host_.timer(ms(2), [this, deadline] {
    if (!guest_.exists || guest_.running) return;
    if (!out_.active || now() > deadline) return host_.feed(input::HandoverFailed{"simulated: the final epoch did not commit"});
    if (out_.unacked.empty() && gate_queue_.empty()) {
      final_epoch_ = {out_.term, out_.acked};
      return host_.feed(input::HandoverFinished{final_epoch_});
    }
    finish_guest_when_committed(deadline);
  });
}

void ModelGuest::carry_out(const action::BootGuest& action) {
  host_.timer(random().between(ms(5), ms(40)), [this, term = action.term, start = ++starts_] {
    if (start != starts_) return;
    guest_ = {.exists = true, .running = true};
    host_.oracle.guest_started(host_.self, term, *guest_.history, host_.stored_term(), true);
    host_.feed(input::GuestRunning{term});
  });
}

void ModelGuest::carry_out(const action::TakeOver& action) {
  host_.timer(random().between(ms(3), ms(40)), [this, term = action.term, action_start = action.start, start = ++starts_] {
    if (start != starts_) return;
    if (std::exchange(restore_fails_, false)) {
      image_whole_ = false;
      return host_.feed(input::GuestFailed{term, "simulated: state does not fit"});
    }
    if (!image_whole_) return host_.oracle.violate("whole image", "take over without an image");
    const bool over = !image_.ended.empty() && !action_start && host_.options.bug != Bug::kEndNotTold;
    guest_.exists = true;
    guest_.running = !over;
    guest_.ended = over ? image_.ended : "";
    guest_.history =
        std::make_shared<History>(image_.history->begin(), image_.history->begin() + static_cast<std::ptrdiff_t>(image_.length));
    image_whole_ = host_.options.bug == Bug::kAcksAfterTakeover;
    open_epoch_ = after(image_.at.epoch);
    if (over) return host_.feed(input::GuestStopped{guest_.ended});
    host_.trace("guest runs from output " + std::to_string(image_.length));
    host_.oracle.guest_started(host_.self, term, *guest_.history, host_.stored_term(), false);
    host_.feed(input::GuestRunning{term});
  });
}

void ModelGuest::carry_out(const action::StopGuest& action) {
  host_.trace("guest is stopped: " + action.reason);
  ++starts_;
  guest_ = {};
}

void ModelGuest::carry_out(const action::ResumeGuest& action) {
  host_.timer(ms(1), [this, term = action.term] {
    if (!guest_.exists) return;
    guest_.running = guest_.ended.empty() && !guest_broken_;
    host_.feed(input::GuestRunning{term});
  });
}

GuestImage ModelGuest::image_now() const { return {guest_.history, guest_.history->size(), {out_.term, out_.sent}, guest_.ended}; }

// Tells the node a moment later, as the session's loop does.
void ModelGuest::power_off() {
  if (!guest_.running) return;
  guest_.running = false;
  guest_.ended = "powered off at " + std::to_string(guest_.history->size());
  host_.trace("guest powers off");
  host_.timer(random().between(ms(0), ms(5)), [this, start = starts_] {
    if (start == starts_ && guest_.exists && !guest_.ended.empty()) host_.feed(input::GuestStopped{guest_.ended});
  });
}

void ModelGuest::reboot() {
  if (!guest_.running) return;
  guest_.history->push_back(random().next());  // another guest than before, who has sent the same
  host_.trace("guest reboots");
  host_.feed(input::GuestNoted{"rebooted"});
}

void ModelGuest::break_guest() {
  if (!guest_.running) return;
  guest_.running = false;
  guest_broken_ = true;
  host_.trace("KVM gives up");
  host_.feed(input::GuestBroken{"simulated"});
}

void ModelGuest::start_anew(Term term) {
  host_.timer(random().between(ms(3), ms(40)), [this, term, start = ++starts_] {
    if (start != starts_ || !guest_.exists) return;
    guest_.running = true;
    guest_.ended.clear();
    guest_broken_ = false;
    guest_.history->push_back(random().next());
    host_.trace("guest is started anew");
    host_.feed(input::GuestRunning{term});
  });
}

void ModelGuest::carry_out(const action::RestartGuest& action) { start_anew(action.term); }
void ModelGuest::carry_out(const action::RecoverGuest& action) { start_anew(action.term); }

std::unique_ptr<GuestPart> make_model_guest(Surroundings surroundings) { return std::make_unique<ModelGuest>(std::move(surroundings)); }

}  // namespace understudy::sim
