// The session of the role that this node has, and what it tells.
#include <fmt/format.h>

#include "failover/daemon/guest_side.h"
#include "failover/daemon/peer_link.h"
#include "net/codec.h"
#include "replication/messages.h"
#include "vmm/fingerprint.h"

namespace understudy {

namespace {

constexpr Duration kSecondaryTick = std::chrono::milliseconds{5};
constexpr Duration kIdleTick = std::chrono::milliseconds{20};  // the durable cut goes on without a session
constexpr Duration kLinkPeriod = std::chrono::milliseconds{200};
// The largest frame: a write of the guest's, cut, or a batch of pages.
constexpr std::size_t kMaxFrameBytes = std::size_t{32} << 20;
// An epoch's batches and more: 16 MiB of staging in 1 MiB frames, twice.
constexpr std::size_t kLinkQueueMessages = 64;

Status::Transfer transfer_numbers(const TransferProgress& progress) {
  return {.known = progress.began != Instant{},
          .under_way = progress.under_way,
          .resync = progress.resync,
          .sent_bytes = progress.bytes_sent,
          .left_bytes = progress.bytes_left,
          .took_ms = static_cast<std::uint64_t>(std::max(0.0, to_ms(progress.took)))};
}

}  // namespace

Result<void> GuestSide::open_link() {
  const auto link = peer_link(deps_.config, deps_.config.replication, "replication", kLinkQueueMessages, kMaxFrameBytes);
  US_ASSIGN(link_, ZmqLink::create(deps_.loop, deps_.zmq, link));
  link_->on_message([this](Message message) { receive(message); });
  link_->on_writable([this] { writable(); });
  link_->on_connection([](bool connected) { log(Severity::kInfo, connected ? "replication link up" : "replication link down"); });
  show_link();
  return {};
}

// Again and again, since a refusal comes with no message.
void GuestSide::show_link() {
  LinkNumbers numbers{.malformed = malformed_};
  numbers.add(*link_);
  if (primary_) {
    numbers.malformed += primary_->stats().corrupt_messages;
    numbers.stale += primary_->stats().foreign_messages + primary_->stale_acks();
  }
  if (secondary_) {
    numbers.malformed += secondary_->stats().corrupt_messages;
    numbers.stale += secondary_->stats().foreign_messages + secondary_->stats().refusals;
  }
  const Status::Pacing pacing = show_pacing();
  {
    const std::lock_guard lock{numbers_mutex_};
    numbers_.link = numbers;
    numbers_.pacing = pacing;
    if (primary_) {
      numbers_.transfer = transfer_numbers(primary_->transfer_progress(now()));
      const ScrubStats& scrub = primary_->scrub_stats();
      numbers_.scrub = {.pages = machine_ ? machine_->page_count() : 0,
                        .position = scrub.position,
                        .passes = scrub.passes,
                        .differing = scrub.differing,
                        .verifying = primary_->verifying()};
    }
  }
  link_timer_ = deps_.loop.call_at(now() + kLinkPeriod, [this] { show_link(); });
}

Status::Pacing GuestSide::show_pacing() {
  if (!primary_) return {};
  const auto us = [](Duration duration) { return static_cast<std::uint64_t>(duration.count() / 1000); };
  const EpochPacer::Report report = primary_->pacing();
  if (report.broken.empty() != budget_broken_.empty()) {
    budget_broken_ = report.broken;
    if (budget_broken_.empty())
      log(Severity::kInfo, "output's budget is held again");
    else
      log(Severity::kWarning, "output's budget is not held", {{"reason", report.broken}});
  }
  return {.shortest_us = us(report.shortest),
          .late_median_us = us(report.late_p50.value_or(Duration{})),
          .late_p99_us = us(report.late_p99.value_or(Duration{})),
          .bound = name_of(report.bound),
          .broken = report.broken};
}

void GuestSide::ensure_primary() {
  if (primary_) return;
  PrimaryConfig config;
  config.pair = deps_.config.pair.id;
  config.node = deps_.config.pair.node;
  config.incarnation = deps_.self.incarnation;
  config.pacing = deps_.config.pacing;
  config.pause_deadline = deps_.config.timing.pause_deadline;
  config.resync_within = deps_.config.timing.resync_within;
  config.transfer_bytes_per_second = deps_.config.transfer_bytes_per_second;
  config.scrub.pages_per_second = deps_.config.scrub_pages_per_second;
  config.window.ack_timeout = deps_.config.timing.ack_timeout;
  std::vector<DiskStream*> streams;
  for (const auto& disk : disks_) streams.push_back(disk.guests.get());
  primary_ = std::make_unique<PrimarySession>(config, *machine_, *egress_.gate(), *link_, *staging_, std::move(streams), deps_.clock,
                                              static_cast<PrimaryEvents&>(*this));
}

void GuestSide::ensure_secondary() {
  if (secondary_) return;
  SecondaryConfig config;
  config.pair = deps_.config.pair.id;
  config.node = deps_.config.pair.node;
  config.incarnation = deps_.self.incarnation;
  config.compatible = compatible;
  config.may_ack = [this](CommittedEpoch at) { return durable_->may_ack(at); };
  const DurableConfig durable{.ack_when_durable = deps_.config.pair.ack_when_durable,
                              .fold_every = deps_.config.timing.fold,
                              .budget = deps_.config.timing.durable,
                              .max_bytes_per_second = deps_.config.pair.fold_bytes_per_second};
  std::vector<DiskSink*> sinks;
  for (const auto& disk : disks_) sinks.push_back(disk.peers.get());
  durable_ = std::make_unique<DurableImage>(durable, *machine_, std::move(sinks), *cut_, stored_cut_);
  secondary_ =
      std::make_unique<SecondarySession>(config, durable_->target(), *link_, durable_->disks(), static_cast<SecondaryEvents&>(*this));
  secondary_->promise(promised_);
}

void GuestSide::drop_secondary() {
  secondary_.reset();
  if (durable_) stored_cut_.reset();
  durable_.reset();
}

void GuestSide::cut_answered() {
  if (!durable_) return;
  durable_->tick(now());
  if (secondary_) secondary_->tick(now());
  rearm();
}

void GuestSide::start_session(const action::StartSession& action) {
  ensure_primary();
  with_primary([&](PrimarySession& session) {
    session.start({.session = random_id<Session>(), .term = action.term, .peer = action.peer.incarnation}, now());
  });
}

void GuestSide::raise_session_term(Term term) {
  with_primary([&](PrimarySession& session) { session.raise_term(term, now()); });
}

void GuestSide::stop_session() {
  with_primary([&](PrimarySession& session) { session.stop(now()); });
}

void GuestSide::accept_sessions(const action::AcceptSessions& action) {
  if (action.keep_image && final_epoch_) {
    // The old primary of a switchover: its machine has run, so a fresh one takes over its memory, which stands at the final epoch.
    const CommittedEpoch at = *std::exchange(final_epoch_, std::nullopt);
    std::vector<std::byte> state;
    PageSet written{machine_->page_count()};
    const auto saved = machine_->save();
    if (saved) state.assign(saved->begin(), saved->end());
    const bool untouched = saved && machine_->harvest(written) && written.empty();
    if (auto rebuilt = rebuild_keeping_memory(); !rebuilt) {
      log(Severity::kError, "machine not rebuilt after a switchover; restart this daemon", {{"reason", rebuilt.error().text()}});
      return;
    }
    ensure_secondary();
    if (untouched) {
      const auto owner = std::make_shared<std::vector<std::byte>>(std::move(state));
      secondary_->adopt_image(at, OwnedBytes{*owner, owner});
      durable_->adopted(at, OwnedBytes{*owner, owner}, now());
    } else {
      log(Severity::kInfo, "image not kept after a switchover: a full transfer follows", {{"pages_touched", written.count()}});
    }
    show_guest("warm");
  }
  if (!machine_) {
    log(Severity::kError, "no machine to hold an image; restart this daemon");
    return;
  }
  ensure_secondary();
  secondary_->accept(action.floor);
  show_guest("warm");
  rearm();
}

void GuestSide::refuse_sessions() {
  if (secondary_) secondary_->refuse("this node is no secondary now");
  rearm();
}

void GuestSide::count_corrupt(std::uint64_t more) {
  if (more == 0) return;
  const std::lock_guard lock{numbers_mutex_};
  numbers_.corrupt_messages += more;
}

void GuestSide::receive(const Message& message) {
  const auto corrupt = [this] {
    return (primary_ ? primary_->stats().corrupt_messages : 0) + (secondary_ ? secondary_->stats().corrupt_messages : 0);
  };
  auto decoded = decode(message, deps_.config.pair.id);
  if (!decoded) {
    ++malformed_;
    log(Severity::kWarning, "message of the peer refused", {{"link", "replication"}, {"reason", decoded.error().text()}});
    return count_corrupt(decoded.error().code() == ErrorCode::kCorrupt ? 1 : 0);
  }
  const std::uint64_t before = corrupt();
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
  count_corrupt(corrupt() - before);
  rearm();
}

void GuestSide::writable() {
  if (primary_) primary_->writable(now());
  if (secondary_) secondary_->writable(now());
  rearm();
}

void GuestSide::tick() {
  timer_ = 0;
  if (primary_) primary_->tick(now());
  if (durable_) durable_->tick(now());
  if (secondary_) secondary_->tick(now());
  show_durable();
  rearm();
}

void GuestSide::show_durable() {
  const auto status = durable_ ? durable_->status(now()) : DurableStatus{};
  const std::lock_guard lock{numbers_mutex_};
  if (!status.trouble.empty() && status.trouble != numbers_.durable.trouble)
    log(Severity::kWarning, "the durable cut does not follow", {{"reason", status.trouble}});
  numbers_.durable = status;
}

void GuestSide::rearm() {
  deps_.loop.cancel(timer_);
  timer_ = 0;
  Instant next = Instant::max();
  if (primary_) next = std::min(next, primary_->next_tick());
  if (secondary_) next = std::min(next, now() + (secondary_->is_up() ? kSecondaryTick : kIdleTick));
  if (!verifications_.empty() && !(primary_ && primary_->verifying()))
    end_verifications(Error{ErrorCode::kUnavailable, "the session with the other node ended before all was compared: ask again"});
  if (next != Instant::max()) timer_ = deps_.loop.call_at(next, [this] { tick(); });
}

void GuestSide::session_up(Session session, Term term, Incarnation peer, SessionStart start) {
  log(Severity::kInfo, "session up", {{"session_term", term}, {"transfer", name_of(start)}});
  deps_.report(input::SessionUp{session, term, peer});
}

void GuestSide::epoch_committed(Session session, CommittedEpoch at, const EpochReport& report) {
  if (report.full_transfer) {
    const TransferProgress transfer = primary_->transfer_progress(now());
    log(Severity::kInfo, "the peer's image is whole",
        {{"by", name_of(transfer.resync ? SessionStart::kResync : SessionStart::kFull)},
         {"sent_kib", transfer.bytes_sent >> 10},
         {"ms", static_cast<std::uint64_t>(to_ms(transfer.took))}});
    const std::lock_guard lock{numbers_mutex_};  // whoever sees the pair protected sees how it came to be
    numbers_.transfer = transfer_numbers(transfer);
  }
  const auto us = [](Duration duration) { return static_cast<std::uint64_t>(std::max<std::int64_t>(0, duration.count() / 1000)); };
  show_committed(at);
  {
    const std::lock_guard lock{numbers_mutex_};
    epochs_.add({.epoch = at.epoch,
                 .pause_us = us(report.timings.stood_still),
                 .dirty_pages = report.dirty_pages,
                 .sent_bytes = report.sent_bytes,
                 .ack_us = us(report.ack_latency),
                 .gate_frames = report.gate_frames});
  }
  log(Severity::kDebug, "epoch committed",
      {{"at", at.epoch},
       {"dirty_pages", report.dirty_pages},
       {"sent_bytes", report.sent_bytes},
       {"pause_us", us(report.timings.stood_still)},
       {"ack_us", us(report.ack_latency)},
       {"gate_frames", report.gate_frames}});
  deps_.store.put_committed(at);
  deps_.report(input::EpochCommitted{session, {at.term, at.epoch}, report.ended ? machine_->ended().value_or("") : ""});
}

void GuestSide::session_refused(Term peer_promise, const std::string& reason) {
  log(Severity::kWarning, "session refused", {{"reason", reason}, {"peer_promise", peer_promise}});
  deps_.report(input::SessionRefused{peer_promise, reason});
}

void GuestSide::session_broken(const std::string& reason) {
  log(Severity::kWarning, "session broken", {{"reason", reason}});
  deps_.report(input::SessionBroken{reason});
}

void GuestSide::final_epoch_committed(CommittedEpoch at) { wait_for_empty_gate(at, now() + std::chrono::seconds{2}); }

void GuestSide::final_epoch_failed(const std::string& reason) { deps_.report(input::HandoverFailed{reason}); }

void GuestSide::verify(std::function<void(Result<Verification>)> told) {
  if (!primary_) return told(Error{ErrorCode::kRefused, "the guest has no other node yet: there is nothing to compare with"});
  if (auto begun = primary_->verify(); !begun) return told(std::move(begun.error()));
  verifications_.push_back(std::move(told));
}

void GuestSide::end_verifications(const Result<Verification>& found) {
  for (const auto& told : std::exchange(verifications_, {})) told(found);
}

void GuestSide::pages_differ(CommittedEpoch at, const std::vector<PageIndex>& pages) {
  constexpr std::size_t kMostNamed = 8;
  std::string named;
  for (std::size_t i = 0; i < std::min(pages.size(), kMostNamed); ++i) named += (i == 0 ? "" : ", ") + std::to_string(pages[i].raw());
  log(Severity::kError, "guest memory is not the same on both nodes; these pages are sent again",
      {{"at", at.epoch}, {"count", pages.size()}, {"pages", named}});
}

void GuestSide::scrubbed(const ScrubReport& report, bool verification) {
  if (report.state_differed) log(Severity::kError, "the machine's state is not the same on both nodes", {{"at", report.to.epoch}});
  if (!verification) return;
  end_verifications(Verification{.term = report.to.term,
                                 .from = report.from.epoch,
                                 .to = report.to.epoch,
                                 .pages = report.pages,
                                 .differing = report.differing,
                                 .examples = report.examples,
                                 .state_differs = report.state_differed});
}

void GuestSide::session_up(Session session, Term term, Incarnation peer) {
  log(Severity::kInfo, "session up", {{"session_term", term}});
  deps_.report(input::SessionUp{session, term, peer});
}

void GuestSide::image_overwritten() {
  durable_->overwritten(now());
  deps_.report(input::ImageOverwritten{});
}

void GuestSide::epoch_committed(Session session, CommittedEpoch at, const std::string& ended) {
  durable_->committed(at, secondary_->state(), ended, now());
  show_committed(at);
  deps_.store.put_committed(at);
  deps_.report(input::EpochCommitted{session, {at.term, at.epoch}, ended});
}

void GuestSide::activity() { deps_.report(input::SessionActivity{}); }

}  // namespace understudy
