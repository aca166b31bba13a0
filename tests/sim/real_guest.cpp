#include "tests/sim/real_guest.h"

#include <cstring>

#include "net/codec.h"
#include "replication/messages.h"

namespace understudy::sim {
namespace {

constexpr PairId kPair{42};
constexpr std::size_t kPages = 24;
constexpr std::size_t kWordOffset = 128;  // of the digest on each page
constexpr Duration kTurn = ms(4);

struct WireFrame {
  std::uint64_t index;
  std::uint64_t content;
  std::uint64_t epoch;
};

GateMode gate_mode(EgressMode mode) {
  switch (mode) {
    case EgressMode::kMute:
      return GateMode::kMute;
    case EgressMode::kHold:
      return GateMode::kHold;
    case EgressMode::kPair:
      return GateMode::kPair;
    case EgressMode::kSolo:
      return GateMode::kSolo;
  }
  return GateMode::kMute;
}

EpochPosition position(CommittedEpoch at) { return {at.term, at.epoch}; }

}  // namespace

std::unique_ptr<GuestPart> make_real_guest(Surroundings surroundings) { return std::make_unique<RealGuest>(std::move(surroundings)); }

RealGuest::RealGuest(Surroundings surroundings)
    : GuestPart{std::move(surroundings)},
      clock_{host_.engine},
      machine_{kPages},
      gate_{*EgressGate::create(port_,
                                {.ring_bytes = std::size_t{1} << 18, .ring_frames = 4096, .max_gap = ms(250), .first_epoch = Epoch{1}})},
      staging_{*StagingPool::create(4, 16)} {
  machine_.make_warm();
  gate_->on_gap([this](Instant, Duration length) {
    host_.timer(Duration{}, [this, length] {
      gap_seen_at_ = now();
      host_.feed(input::LoopGap{length});
    });
  });
  gate_->on_output([this](Epoch epoch) {
    host_.timer(Duration{}, [this, epoch] {
      if (primary_) primary_->output_waits(epoch, now());
    });
  });
  turn();
  live();
}

RealGuest::~RealGuest() = default;

Result<void> RealGuest::PeerLink::send(Message message) {
  if (owner_.to_lose_ > 0) {
    --owner_.to_lose_;
    return {};
  }
  owner_.host_.send(std::move(message));
  return {};
}

Result<void> RealGuest::Port::send(const FrameOffload&, std::span<const std::byte> bytes) {
  WireFrame wire{};
  std::memcpy(&wire, bytes.data(), sizeof wire);
  const EgressGateStats gate = owner_.gate_->stats();
  owner_.host_.oracle.released(owner_.host_.self, gate.term, gate_mode(gate.mode), {wire.index, wire.content, Epoch{wire.epoch}},
                               *owner_.history_, owner_.host_.service_works());
  return {};
}

void RealGuest::post(Duration delay, std::function<void()> work) {
  busy_until_ = std::max(busy_until_, now()) + delay;
  host_.timer(busy_until_ - now(), std::move(work));
}

void RealGuest::turn() {
  if (primary_) primary_->tick(now());
  if (secondary_) secondary_->tick(now());
  gate_->pump(clock_);
  host_.timer(kTurn, [this] { turn(); });
}

void RealGuest::live() {
  host_.timer(random().between(ms(4), ms(30)), [this] {
    if (exists_ && machine_.running()) emit_output();
    live();
  });
}

void RealGuest::write_digest() {
  for (std::size_t page = 0; page < kPages; ++page) machine_.guest_write_u64(page * kPageSizeBytes + kWordOffset, digest_);
  machine_.set_counter(history_->size());
  host_.oracle.remember(digest_, {history_, history_->size(), {}});
}

// As the machine's owner does it while the guest stands: another guest than before, who has sent the same.
void RealGuest::boot_anew() {
  history_->push_back(random().next());
  digest_ = (digest_ ^ history_->back()) * 0x9e3779b97f4a7c15ULL + 1;
  machine_.reboot(history_->back());
  for (std::size_t page = 0; page < kPages; ++page) machine_.host_write_u64(page * kPageSizeBytes + kWordOffset, digest_);
  machine_.set_counter(history_->size());
  host_.oracle.remember(digest_, {history_, history_->size(), {}});
  host_.trace("guest is started anew");
}

void RealGuest::resume_anew() {
  const Result<void> resumed = primary_ ? primary_->resume_rebooted(now()) : machine_.resume();
  if (!resumed) host_.oracle.violate("starts anew", resumed.error().text());
}

void RealGuest::start_anew(Term term) {
  post(random().between(ms(2), ms(40)), [this, term] {
    if (!exists_ || machine_.running()) return;
    boot_anew();
    resume_anew();
    host_.feed(input::GuestRunning{term});
  });
}

void RealGuest::carry_out(const action::RestartGuest& action) { start_anew(action.term); }
void RealGuest::carry_out(const action::RecoverGuest& action) { start_anew(action.term); }

void RealGuest::power_off() {
  if (!exists_ || !machine_.running()) return;
  machine_.end_guest();
  host_.trace("guest powers off");
  post(random().between(ms(0.1), ms(3)), [this] {
    if (!exists_) return;
    machine_.accept_end("powered off at " + std::to_string(history_->size()));
    if (primary_) primary_->guest_ended(now());
    host_.feed(input::GuestStopped{*machine_.ended()});
  });
}

void RealGuest::reboot() {
  if (!exists_ || !machine_.running()) return;
  machine_.end_guest();
  host_.trace("guest resets itself");
  post(random().between(ms(2), ms(40)), [this] {
    if (!exists_ || machine_.running()) return;
    boot_anew();
    resume_anew();
    host_.feed(input::GuestNoted{"rebooted"});
  });
}

void RealGuest::break_guest() {
  if (!exists_ || !machine_.running()) return;
  machine_.end_guest();
  host_.trace("KVM gives up");
  host_.timer(Duration{}, [this] { host_.feed(input::GuestBroken{"simulated"}); });
}

// All in one instruction, as far as checkpoints can tell.
void RealGuest::emit_output() {
  const WireFrame wire{history_->size(), random().next(), gate_->open_epoch().raw()};
  std::array<std::byte, 64> frame{};
  std::memcpy(frame.data(), &wire, sizeof wire);
  const ConstBytes piece{frame};
  history_->push_back(wire.content);
  digest_ = (digest_ ^ wire.content) * 0x9e3779b97f4a7c15ULL + 1;
  write_digest();
  static_cast<void>(gate_->transmit({}, std::span{&piece, 1}));
  gate_->pump(clock_);
}

// What the machine's memory holds: nullopt if that is no state that any guest was ever in.
std::optional<GuestImage> RealGuest::read_image(EpochPosition at) const {
  const std::uint64_t digest = machine_.read_u64(kWordOffset);
  for (std::size_t page = 1; page < kPages; ++page)
    if (machine_.read_u64(page * kPageSizeBytes + kWordOffset) != digest) return std::nullopt;
  auto image = host_.oracle.recall(digest);
  if (image) image->at = at;
  return image;
}

void RealGuest::ensure_primary() {
  if (primary_) return;
  PrimaryConfig config;
  config.pair = kPair;
  config.node = host_.self.node;
  config.incarnation = host_.self.incarnation;
  config.pacing.shortest = ms(20);  // nothing costs time here, and each epoch costs the simulation's
  config.window = {.max_in_flight = 4, .ack_timeout = ms(700)};
  config.transfer_window_bytes = 4 * kPageSizeBytes;
  config.batch_pages = 2;
  config.final_round_pages = 4;
  config.scrub = {.pages_per_second = 200};  // all of this small memory, several times a second
  primary_ = std::make_unique<PrimarySession>(config, machine_, *gate_, link_, *staging_, std::vector<DiskStream*>{}, clock_,
                                              static_cast<PrimaryEvents&>(*this));
}

void RealGuest::ensure_secondary() {
  if (secondary_) return;
  SecondaryConfig config;
  config.pair = kPair;
  config.node = host_.self.node;
  config.incarnation = host_.self.incarnation;
  config.compatible = [](const MachineFingerprint&, const MachineFingerprint&) -> Result<void> { return {}; };
  secondary_ = std::make_unique<SecondarySession>(config, machine_, link_, std::vector<DiskSink*>{}, static_cast<SecondaryEvents&>(*this));
  secondary_->promise(promised_);
}

void RealGuest::carry_out(const action::BootGuest& action) {
  post(random().between(ms(2), ms(30)), [this, term = action.term] {
    static_cast<void>(machine_.resume());
    exists_ = true;
    digest_ = random().next();
    write_digest();
    host_.oracle.guest_started(host_.self, term, *history_, host_.stored_term(), true);
    host_.feed(input::GuestRunning{term});
  });
}

void RealGuest::carry_out(const action::TakeOver& action) {
  post(random().between(ms(2), ms(30)), [this, term = action.term, action_start = action.start] {
    const auto fail = [&](const std::string& reason) { host_.feed(input::GuestFailed{term, reason}); };
    if (!secondary_) return fail("no image");
    auto image = secondary_->prepare_takeover();
    if (!image) return host_.oracle.violate("whole image", "take over without an image: " + image.error().text());
    if (restore_fails_) {
      secondary_.reset();
      return fail("simulated: state does not fit");
    }
    const bool over = !image->ended.empty() && !action_start && host_.options.bug != Bug::kEndNotTold;
    if (const auto restored = machine_.restore(image->state.bytes); !restored) return fail(restored.error().text());
    const auto held = read_image(position(image->at));
    if (!held || machine_.counter() != held->length)
      return host_.oracle.violate("one epoch", "the restored memory is a mix of epochs, or does not fit the machine's state");
    secondary_.reset();
    history_ = std::make_shared<History>(held->history->begin(), held->history->begin() + static_cast<std::ptrdiff_t>(held->length));
    digest_ = machine_.read_u64(kWordOffset);
    exists_ = true;
    if (over) {
      machine_.accept_end(image->ended);
      return host_.feed(input::GuestStopped{image->ended});
    }
    host_.trace("guest runs from output " + std::to_string(history_->size()));
    host_.oracle.guest_started(host_.self, term, *history_, host_.stored_term(), false);
    if (action_start) boot_anew();
    if (gate_->stats().mode == EgressMode::kPair) {
      ensure_primary();
      static_cast<void>(primary_->begin_from(image->at, now()));
    }
    static_cast<void>(machine_.resume());
    host_.feed(input::GuestRunning{term});
  });
}

void RealGuest::carry_out(const action::FinishGuest&) {
  post(ms(0.2), [this] {
    if (!primary_) return host_.feed(input::HandoverFailed{"no session"});
    primary_->final_epoch(now());
  });
}

void RealGuest::finish_when_empty(EpochPosition at, Instant deadline) {
  if (gate_->empty()) {
    final_epoch_ = at;
    return host_.feed(input::HandoverFinished{at});
  }
  if (now() > deadline) return host_.feed(input::HandoverFailed{"the gate does not empty"});
  host_.timer(ms(1), [this, at, deadline] { finish_when_empty(at, deadline); });
}

void RealGuest::carry_out(const action::ResumeGuest& action) {
  post(ms(0.5), [this, term = action.term] {
    final_epoch_.reset();
    if (!exists_) return;
    if (primary_) {
      static_cast<void>(primary_->resume_guest(now()));
    } else if (machine_.paused()) {
      static_cast<void>(machine_.resume());
    }
    host_.feed(input::GuestRunning{term});
  });
}

void RealGuest::carry_out(const action::StopGuest& action) {
  host_.trace("guest is stopped: " + action.reason);
  post(ms(0.2), [this] {
    primary_.reset();
    if (exists_ && machine_.running()) static_cast<void>(machine_.pause(ms(1)));
    exists_ = false;
  });
}

void RealGuest::carry_out(const action::StartSession& action) {
  post(ms(0.1), [this, action] {
    if (!exists_) return;
    ensure_primary();
    primary_->start({.session = Session{random().next() | 1}, .term = action.term, .peer = action.peer.incarnation}, now());
  });
}

void RealGuest::carry_out(const action::RaiseSessionTerm& action) {
  post(ms(0.1), [this, term = action.term] {
    if (primary_) primary_->raise_term(term, now());
  });
}

void RealGuest::carry_out(const action::StopSession&) {
  post(ms(0.1), [this] {
    if (primary_) primary_->stop(now());
  });
}

void RealGuest::carry_out(const action::AcceptSessions& action) {
  post(ms(0.3), [this, action] {
    if (action.keep_image && final_epoch_ && exists_) {
      const EpochPosition at = *std::exchange(final_epoch_, std::nullopt);
      primary_.reset();
      const auto saved = machine_.save();
      const auto state = std::make_shared<std::vector<std::byte>>(saved->begin(), saved->end());
      static_cast<void>(machine_.stop_tracking());
      machine_.make_warm();
      exists_ = false;
      ensure_secondary();
      if (random().chance(0.1)) {  // the host could not keep it after all
        host_.oracle.image_lost(host_.self);
        host_.feed(input::ImageOverwritten{});
      } else {
        secondary_->adopt_image({at.term, at.epoch}, OwnedBytes{*state, state});
        if (const auto image = read_image(at)) host_.oracle.committed(host_.self, *image);
      }
    }
    ensure_secondary();
    secondary_->accept(action.floor);
  });
}

void RealGuest::carry_out(const action::RefuseSessions&) {
  post(ms(0.1), [this] {
    if (secondary_) secondary_->refuse("no secondary now");
  });
}

void RealGuest::promise(Term promised) {
  promised_ = std::max(promised_, promised);
  post(ms(0.1), [this] {
    if (secondary_) secondary_->promise(promised_);
  });
}

void RealGuest::carry_out(const action::SetGate& action) {
  if (action.mode == GateMode::kMute) {
    muted_by_ = action.order;
    gate_->mute();
  }
  std::optional<Instant> confirmed_since;
  if (action.mode == GateMode::kPair || action.mode == GateMode::kSolo) confirmed_since = std::exchange(gap_seen_at_, std::nullopt);
  post(ms(0.1), [this, action, confirmed_since] {
    if (action.order >= muted_by_) apply_gate(action, confirmed_since);
  });
}

void RealGuest::apply_gate(const action::SetGate& action, std::optional<Instant> confirmed_since) {
  if (host_.options.verbose) host_.trace(std::string{"gate "} + name_of(action.mode) + " term " + std::to_string(action.term.raw()));
  if (action.mode != GateMode::kMute && gate_->stats().mode == EgressMode::kMute && secondary_ && secondary_->image_whole() &&
      gate_->empty())
    gate_->set_open_epoch(after(secondary_->committed().epoch));
  switch (action.mode) {
    case GateMode::kMute:
      gate_->mute();
      break;
    case GateMode::kHold:
      gate_->hold(action.term);
      break;
    case GateMode::kPair:
      host_.options.bug == Bug::kGateAlwaysOpen ? gate_->solo(action.term) : gate_->pair(action.term);
      break;
    case GateMode::kSolo:
      gate_->solo(action.term);
      break;
  }
  if (confirmed_since) gate_->confirm_term(action.term, *confirmed_since);
  const Epoch open = host_.options.bug == Bug::kProtectTooEarly ? Epoch{} : gate_->open_epoch();
  host_.timer(ms(0.1), [this, order = action.order, open] { host_.feed(input::GateSet{order, open}); });
  gate_->pump(clock_);
}

void RealGuest::receive(const PeerMessage& any) {
  const auto decoded = decode(std::get<Message>(any), kPair);
  if (!decoded) return;
  switch (decoded->envelope.kind) {
    case kind::kWelcome:
    case kind::kRefuse:
    case kind::kAck:
    case kind::kProgress:
    case kind::kReject:
    case kind::kChecked:
      if (primary_) primary_->receive(*decoded, now());
      break;
    default:
      if (secondary_) secondary_->receive(*decoded, now());
  }
  gate_->pump(clock_);
}

void RealGuest::break_session() { to_lose_ = 1 + static_cast<unsigned>(random().below(6)); }

// The node hears of everything a moment later: it has a loop of its own.
void RealGuest::session_up(Session session, Term term, Incarnation peer, SessionStart start) {
  host_.trace(std::string{"session is up: "} + name_of(start));
  host_.timer(Duration{}, [this, session, term, peer] { host_.feed(input::SessionUp{session, term, peer}); });
}

void RealGuest::epoch_committed(Session session, CommittedEpoch at, const EpochReport& report) {
  if (host_.options.bug == Bug::kAckOpensTooMuch) gate_->commit(at.term, after(at.epoch));
  const bool ended = report.ended || host_.options.bug == Bug::kEndToldTooEarly;
  host_.timer(Duration{}, [this, session, at, how = ended ? machine_.ended().value_or("") : ""] {
    host_.feed(input::EpochCommitted{session, position(at), how});
  });
}

void RealGuest::session_broken(const std::string& reason) {
  host_.timer(Duration{}, [this, reason] { host_.feed(input::SessionBroken{reason}); });
}

void RealGuest::session_refused(Term peer_promise, const std::string& reason) {
  host_.timer(Duration{}, [this, peer_promise, reason] { host_.feed(input::SessionRefused{peer_promise, reason}); });
}

void RealGuest::final_epoch_committed(CommittedEpoch at) {
  host_.timer(Duration{}, [this, at] { finish_when_empty(position(at), now() + ms(1000)); });
}

void RealGuest::final_epoch_failed(const std::string& reason) {
  host_.timer(Duration{}, [this, reason] { host_.feed(input::HandoverFailed{reason}); });
}

void RealGuest::pages_differ(CommittedEpoch at, const std::vector<PageIndex>& pages) {
  host_.oracle.violate("one epoch", std::to_string(pages.size()) + " pages, from " + std::to_string(pages.front().raw()) +
                                        " on, are not the same on both sides at epoch " + std::to_string(at.epoch.raw()));
}

void RealGuest::session_up(Session session, Term term, Incarnation peer) {
  host_.timer(Duration{}, [this, session, term, peer] { host_.feed(input::SessionUp{session, term, peer}); });
}

void RealGuest::image_overwritten() {
  host_.oracle.image_lost(host_.self);
  host_.timer(Duration{}, [this] { host_.feed(input::ImageOverwritten{}); });
}

void RealGuest::epoch_committed(Session session, CommittedEpoch at, const std::string& ended) {
  const auto image = read_image(position(at));
  if (!image) return host_.oracle.violate("one epoch", "a committed image is a mix of epochs");
  host_.oracle.committed(host_.self, *image);
  host_.timer(Duration{}, [this, session, at, how = host_.options.bug == Bug::kEndNotTold ? "" : ended] {
    host_.feed(input::EpochCommitted{session, position(at), how});
  });
}

void RealGuest::activity() {
  host_.timer(Duration{}, [this] { host_.feed(input::SessionActivity{}); });
}

}  // namespace understudy::sim
