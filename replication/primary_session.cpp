#include "replication/primary_session.h"

#include <algorithm>
#include <string>
#include <utility>

#include "net/base/check.h"
#include "net/base/log.h"
#include "replication/primary_transfer.h"

namespace understudy {

PrimarySession::PrimarySession(PrimaryConfig config, CheckpointSource& source, EgressGate& gate, Link& link, StagingPool& staging,
                               std::vector<DiskStream*> disks, const Clock& clock, PrimaryEvents& events)
    : config_{std::move(config)},
      source_{source},
      gate_{gate},
      link_{link},
      staging_{staging},
      disks_{std::move(disks)},
      clock_{clock},
      events_{events},
      window_{config_.window},
      pacer_{config_.pacing},
      scrub_{config_.scrub, source.page_count()},
      unsent_writes_(disks_.size()),
      hot_{source_, config_.max_hot_pages} {
  US_CHECK(config_.batch_pages > 0 && config_.batch_pages <= kMaxBatchPages && config_.window.max_in_flight > 0);
  US_CHECK(config_.disk_chunk_bytes > 0 && config_.disk_chunk_bytes <= kMaxDiskWriteBytes && config_.disk_chunk_bytes % 512 == 0);
}

PrimarySession::~PrimarySession() {
  capture_.reset();
  forget_peer();
}

const char* name_of(SessionStart start) {
  switch (start) {
    case SessionStart::kCatchUp:
      return "catch-up";
    case SessionStart::kResync:
      return "resync";
    case SessionStart::kFull:
      return "full";
  }
  return "";
}

// ------------------------------------------------------------------------------------------------------------------ life

Result<void> PrimarySession::begin_from(CommittedEpoch at, Instant now) {
  US_CHECK(phase_ == Phase::kIdle);
  forget_peer();
  for (DiskStream* disk : disks_) disk->start_stream();
  if (auto tracking = source_.start_tracking(); !tracking) return std::move(tracking.error()).within("start dirty tracking");
  tracking_ = true;
  PageSet before{source_.page_count()};  // written before `at`: part of it
  if (auto harvested = source_.harvest(before); !harvested) return std::move(harvested.error()).within("begin dirty tracking afresh");
  retained_ = Retained{Incarnation{}, at, now + config_.resume_within};
  next_tick_ = due(now);
  return {};
}

void PrimarySession::start(const PrimaryStart& start, Instant now) {
  US_CHECK(start.session.raw() != 0);
  end_session(now);
  for (const Incarnation known : {retained_ ? retained_->peer : Incarnation{}, behind_ ? behind_->peer : Incarnation{}})
    if (known.raw() != 0 && known != start.peer) forget_peer();
  start_ = start;
  phase_ = Phase::kHello;
  ++stats_.sessions;
  send_hello(now);
  next_tick_ = due(now);
}

void PrimarySession::stop(Instant now) {
  end_session(now);
  if (final_ == Final::kWanted) final_ = Final::kNone;
  next_tick_ = due(now);
}

void PrimarySession::forget() {
  stop(Instant{});
  forget_peer();
  next_tick_ = Instant::max();
}

void PrimarySession::raise_term(Term term, Instant now) {
  if (phase_ == Phase::kIdle || term <= start_.term) return;
  const Term previous = std::exchange(start_.term, term);
  if (phase_ == Phase::kHello) {
    send_hello(now);
    return;
  }
  window_.raise(term);
  post(kind::kRaiseTerm, window_.committed(), to_bytes(RaiseTerm{previous}));
  flush();
}

void PrimarySession::end_session(Instant now) {
  capture_.reset();  // resumes the guest, gives its pages back; its disk writes are in unsent_writes_
  outbox_.clear();
  std::vector<Epoch> held;
  if (transfer_) {
    owed_ = still_owed();
    held = std::move(transfer_->epochs);
    transfer_.reset();
  }
  in_chunks_ = false;
  put_off_ = false;
  first_committed_ = false;
  progress_.under_way = false;
  scrub_.interrupted();
  scrub_.end_verification();
  // Whatever its epoch's end was for, the guest need not wait for it any more.
  if (std::exchange(resume_at_boundary_, false)) {
    if (auto resumed = source_.resume(); !resumed)
      log(Severity::kError, "rebooted guest not resumed", {{"reason", resumed.error().text()}});
  }
  hot_.forget_copies();  // the peer may not have got them
  const Phase was = std::exchange(phase_, Phase::kIdle);
  if (was != Phase::kTransfer && was != Phase::kEpochs) return;
  retained_ = Retained{start_.peer, CommittedEpoch{start_.term, window_.committed()}, now + config_.resume_within};
  if (was != Phase::kTransfer) return;
  // Of a transfer nothing can be caught up. Its begin may not have arrived: then the peer still holds what it held.
  fall_behind(now);
  if (behind_) behind_->epochs = std::move(held);
}

void PrimarySession::break_session(const std::string& reason, Instant now) {
  end_session(now);
  next_tick_ = due(now);
  fail_final(reason);
  events_.session_broken(reason);
}

void PrimarySession::forget_peer() {
  owed_.reset();
  behind_.reset();
  in_flight_.clear();
  for (auto& writes : unsent_writes_) writes.clear();
  for (DiskStream* disk : disks_) disk->stop_stream();
  retained_.reset();
  hot_.reset();
  if (!std::exchange(tracking_, false)) return;
  if (auto stopped = source_.stop_tracking(); !stopped)
    log(Severity::kWarning, "dirty tracking not stopped", {{"reason", stopped.error().text()}});
}

// ------------------------------------------------------------------------------------------------------------- handshake

void PrimarySession::send_hello(Instant now) {
  hello_at_ = now;
  Hello hello{.expected_peer = start_.peer, .fingerprint = source_.fingerprint(), .disks = {}};
  for (const DiskStream* disk : disks_) hello.disks.push_back({disk->capacity_bytes(), disk->read_only()});
  outbox_.clear();  // an older hello that the link would not take
  post(kind::kHello, Epoch{}, to_bytes(hello));
  flush();
}

bool PrimarySession::can_catch_up(const Welcome& welcome) const {
  if (!retained_ || !welcome.image_whole || welcome.committed_term > start_.term) return false;
  if (welcome.committed_epoch == retained_->base.epoch) return welcome.committed_epoch.raw() != 0;
  return std::ranges::any_of(in_flight_, [&](const InFlight& epoch) { return epoch.at.epoch == welcome.committed_epoch; });
}

void PrimarySession::on_welcome(const Welcome& welcome, Instant now) {
  if (phase_ != Phase::kHello) return;  // the answer to a repeated hello
  const AckSource source{start_.term, start_.session, start_.peer};
  digest_ = EpochDigest{};
  if (can_catch_up(welcome)) {
    window_.open(source, welcome.committed_epoch);
    catch_up(welcome.committed_epoch, now);
    return;
  }
  window_.open(source, Epoch{});
  if (retained_) fall_behind(now);
  begin_transfer(now, can_resync(welcome), welcome.committed_epoch);
}

void PrimarySession::catch_up(Epoch base, Instant now) {
  ++stats_.catch_ups;
  retained_.reset();
  owed_.reset();
  auto reports = settle(base, now);
  // What the peer lost comes again: pages as they are by then, disk writes as they were, before anything newer.
  for (std::size_t d = 0; d < disks_.size(); ++d) {
    std::vector<DiskWrite> again;
    for (InFlight& epoch : in_flight_) std::ranges::move(epoch.writes[d], std::back_inserter(again));
    std::ranges::move(unsent_writes_[d], std::back_inserter(again));
    unsent_writes_[d] = std::move(again);
  }
  in_flight_.clear();
  phase_ = Phase::kEpochs;
  first_committed_ = true;
  base_ = base;
  pacer_.began(now);
  post(kind::kBegin, base, to_bytes(Begin{.full = false, .base = base}));
  flush();
  const Session session = start_.session;
  const CommittedEpoch at{start_.term, base};
  gate_.commit(at.term, at.epoch);
  events_.session_up(session, start_.term, start_.peer, SessionStart::kCatchUp);
  if (phase_ == Phase::kEpochs && start_.session == session)
    events_.epoch_committed(session, at, reports.empty() ? EpochReport{} : reports.back().second);
}

// -------------------------------------------------------------------------------------------------------------- incoming

void PrimarySession::receive(const DecodedMessage& message, Instant now) {
  const Envelope& from = message.envelope;
  if (!is_replication(from.kind) || phase_ == Phase::kIdle || from.sender != peer_of(config_.node) || from.session != start_.session ||
      // A refusal may come from another incarnation than the one that was asked for: that is what it says.
      (from.incarnation != start_.peer && from.kind != kind::kRefuse)) {
    ++stats_.foreign_messages;
    return;
  }
  const std::span<const std::byte> payload = message.payload.bytes();
  const auto with = [&](auto&& parsed, auto&& handle) {
    if (!parsed) {
      ++stats_.corrupt_messages;
      return break_session("message of kind " + std::to_string(from.kind) + " from the secondary: " + parsed.error().text(), now);
    }
    handle(*parsed);
  };
  switch (from.kind) {
    case kind::kWelcome:
      if (from.term != start_.term) {
        ++stats_.foreign_messages;
        break;
      }
      with(from_bytes<Welcome>(payload), [&](const Welcome& welcome) { on_welcome(welcome, now); });
      break;
    case kind::kRefuse:
      with(from_bytes<Refuse>(payload), [&](const Refuse& refuse) { on_refuse(refuse, now); });
      break;
    case kind::kAck:
      with(from_bytes<Ack>(payload), [&](const Ack&) { on_ack(from, now); });
      break;
    case kind::kProgress:
      with(from_bytes<Progress>(payload), [&](const Progress& progress) { on_progress(progress, now); });
      break;
    case kind::kChecked:
      with(from_bytes<Checked>(payload), [&](const Checked& checked) { on_checked(from, checked, now); });
      break;
    case kind::kReject:
      with(from_bytes<Reject>(payload), [&](const Reject& reject) {
        break_session("the secondary rejected epoch " + std::to_string(from.epoch.raw()) + ": " + reject.reason, now);
      });
      break;
    default:
      ++stats_.foreign_messages;
      break;
  }
  next_tick_ = due(now);
}

void PrimarySession::on_refuse(const Refuse& refuse, Instant now) {
  if (refuse.promise.raw() != 0 && refuse.promise <= start_.term) return;  // said before it heard of our term
  end_session(now);
  fail_final("the secondary refuses: " + refuse.reason);
  events_.session_refused(refuse.promise, refuse.reason);
}

void PrimarySession::on_ack(const Envelope& from, Instant now) {
  const AckSource source{from.term, from.session, from.incarnation};
  if (phase_ != Phase::kEpochs) return;
  const auto rose = window_.acked(source, from.epoch);
  if (!rose) {
    ++stats_.corrupt_messages;
    return break_session(rose.error().text(), now);
  }
  if (source != window_.source()) return;
  // Also for an ack that repeats the last one: it answers a raised term, in which the gate has heard of none yet.
  if (window_.committed().raw() != 0) gate_.commit(start_.term, window_.committed());
  if (!*rose) return;
  if (!std::exchange(first_committed_, true)) end_transfer(now);
  const bool final_done = final_ == Final::kSent && window_.committed() >= final_epoch_;
  if (final_done) final_ = Final::kDone;
  const Session session = start_.session;
  const CommittedEpoch final_at{start_.term, final_epoch_};
  for (const auto& [at, report] : settle(from.epoch, now)) {
    if (phase_ == Phase::kIdle || start_.session != session) return;  // the owner ended it in the event before
    events_.epoch_committed(session, at, report);
  }
  if (final_done) events_.final_epoch_committed(final_at);
}

Result<void> PrimarySession::verify() {
  if (!is_protecting()) return Error{ErrorCode::kRefused, "no session with a whole image is up: there is nothing to compare with"};
  scrub_.verify();
  return {};
}

void PrimarySession::on_checked(const Envelope& from, const Checked& checked, Instant now) {
  if (phase_ != Phase::kEpochs) return;
  const bool verification = scrub_.verifying();
  const auto report = scrub_.answered(checked.first, checked.count, checked.differing, checked.state_differs);
  if (!report) {
    ++stats_.corrupt_messages;
    return break_session(report.error().text(), now);
  }
  const Session session = start_.session;
  if (!checked.differing.empty()) {
    PageSet again{source_.page_count()};
    for (const PageIndex page : checked.differing) {
      again.insert(page);
      hot_.forget(static_cast<std::uint32_t>(page.raw()));
    }
    source_.merge_back(again);
    events_.pages_differ({from.term, from.epoch}, checked.differing);
    if (phase_ != Phase::kEpochs || start_.session != session) return;  // the owner ended it in the event
  }
  if (*report) events_.scrubbed(**report, verification);
}

std::vector<std::pair<CommittedEpoch, EpochReport>> PrimarySession::settle(Epoch epoch, Instant now) {
  std::vector<std::pair<CommittedEpoch, EpochReport>> reports;
  while (!in_flight_.empty() && in_flight_.front().at.epoch <= epoch) {
    InFlight& held = in_flight_.front();
    held.harvest.commit();
    for (std::size_t d = 0; d < disks_.size(); ++d) disks_[d]->release(held.release_bytes[d]);
    held.report.ack_latency = now - held.resumed_at;
    held.report.gate_frames = gate_.stats().depth_frames;
    if (held.output_waited)
      pacer_.released({.waited = *held.output_waited, .pause = held.report.timings.stood_still, .ack = held.report.ack_latency});
    reports.emplace_back(CommittedEpoch{start_.term, held.at.epoch}, held.report);
    ++stats_.epochs_committed;
    in_flight_.pop_front();
  }
  return reports;
}

// ------------------------------------------------------------------------------------------------------------------ time

void PrimarySession::tick(Instant now) {
  if (retained_ && (now >= retained_->until || std::ranges::any_of(disks_, [](const DiskStream* disk) { return disk->blocked(); })))
    fall_behind(now);  // rather than memory without bound, or a guest that waits for a peer that is not there
  if (behind_ && now >= behind_->until) forget_peer();
  switch (phase_) {
    case Phase::kIdle:
      break;
    case Phase::kHello:
      if (now - hello_at_ >= config_.hello_every) send_hello(now);
      break;
    case Phase::kTransfer:
      run_transfer(now);
      break;
    case Phase::kEpochs:
      run_epochs(now);
      break;
  }
  next_tick_ = due(now);
}

Instant PrimarySession::due(Instant now) const {
  constexpr Duration kSoon = std::chrono::milliseconds{1};
  const Instant forget_at = retained_ ? retained_->until : behind_ ? behind_->until : Instant::max();
  switch (phase_) {
    case Phase::kIdle:
      return forget_at;
    case Phase::kHello:
      return std::min(forget_at, hello_at_ + config_.hello_every);
    case Phase::kTransfer:
      return now + kSoon;
    case Phase::kEpochs:
      break;
  }
  if (capture_ || !outbox_.empty() || put_off_ || final_ == Final::kWanted || resume_at_boundary_) return now + kSoon;
  const bool stands = final_ == Final::kSent || final_ == Final::kDone;
  return std::min(window_.overdue_at(), stands ? Instant::max() : pacer_.end_at());
}

void PrimarySession::post(MessageKind kind, Epoch epoch, std::span<const std::byte> payload, std::vector<OwnedBytes> bulk) {
  std::vector<Frame> frames;
  frames.reserve(bulk.size());
  for (OwnedBytes& bytes : bulk) frames.emplace_back(bytes.bytes, std::move(bytes.owner));
  const Envelope envelope{.kind = kind,
                          .pair = config_.pair,
                          .sender = config_.node,
                          .incarnation = config_.incarnation,
                          .term = start_.term,
                          .session = start_.session,
                          .epoch = epoch};
  outbox_.push_back(encode(envelope, payload, std::move(frames)));
}

bool PrimarySession::flush() {
  // What the link does not take stays here, bounded by the staging pool and the disks' limits; the ack timeout tells a dead one.
  while (!outbox_.empty() && link_.send(outbox_.front())) outbox_.pop_front();
  return outbox_.empty();
}

}  // namespace understudy
