#include "replication/egress_gate.h"

#include <algorithm>
#include <array>
#include <string>

#include <sys/eventfd.h>

#include "net/base/check.h"

namespace understudy {

const char* name_of(EgressMode mode) {
  switch (mode) {
    case EgressMode::kMute:
      return "mute";
    case EgressMode::kHold:
      return "hold";
    case EgressMode::kPair:
      return "pair";
    case EgressMode::kSolo:
      return "solo";
  }
  return "?";
}

Result<std::unique_ptr<EgressGate>> EgressGate::create(PacketPort& port, const EgressGateConfig& config) {
  if (config.ring_bytes < 2 * NetBackend::kMaxFrameBytes || config.ring_frames == 0)
    return Error{ErrorCode::kInvalid, "egress gate of " + std::to_string(config.ring_bytes) + " bytes and " +
                                          std::to_string(config.ring_frames) + " frames: give at least " +
                                          std::to_string(2 * NetBackend::kMaxFrameBytes) + " bytes and 1 frame"};
  UniqueFd room{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!room) return Error::from_errno("make the egress gate's eventfd");
  return std::unique_ptr<EgressGate>{new EgressGate{port, config, std::move(room)}};
}

EgressGate::EgressGate(PacketPort& port, const EgressGateConfig& config, UniqueFd room)
    : port_{port}, config_{config}, room_{std::move(room)}, ring_{config.ring_bytes, config.ring_frames}, open_epoch_{config.first_epoch} {
  US_CHECK(config.first_epoch.raw() > 0);
}

EgressGate::~EgressGate() = default;

void EgressGate::set_receive_offloads(const Offloads& taken) {
  {
    const std::lock_guard lock{mutex_};
    receive_offloads_ = taken;
  }
  if (wake_) wake_();
}

bool EgressGate::transmit(const FrameOffload& offload, std::span<const ConstBytes> pieces) {
  bool leaves = false;
  Epoch first_of;  // not 0: this frame is the first of that epoch to wait
  {
    const std::lock_guard lock{mutex_};
    if (mode_ == EgressMode::kMute) {
      ++stats_.dropped_muted;
      return true;
    }
    std::size_t length = 0;
    for (const ConstBytes piece : pieces) length += piece.size();
    US_CHECK(length > 0 && length <= kMaxFrameBytes);
    if (!ring_.push(offload, pieces, open_epoch_, last_pump_.value_or(Instant{}))) {
      ++stats_.refused_full;
      room_wanted_ = true;
      return false;
    }
    ++stats_.accepted;
    leaves = front_may_leave();
    if (mode_ == EgressMode::kPair && with_output_ != open_epoch_) first_of = with_output_ = open_epoch_;
  }
  if (leaves) wake();
  if (first_of.raw() != 0 && output_) output_(first_of);
  return true;
}

std::expected<ReceivedFrame, NetBackend::NoFrame> EgressGate::receive(MutableBytes frame) {
  // A muted gate takes a bounded number of frames off the port at a time, so that a flood cannot hold the device loop.
  for (int i = 0; i < 64; ++i) {
    auto received = port_.receive(frame);
    if (!received && received.error().code() == ErrorCode::kUnavailable) return std::unexpected{NoFrame::kGone};
    if (!received || !*received) return std::unexpected{NoFrame::kNoneWaits};
    const std::lock_guard lock{mutex_};
    if (mode_ != EgressMode::kMute) {
      ++stats_.received;
      return **received;
    }
    ++stats_.dropped_received;
  }
  return std::unexpected{NoFrame::kNoneWaits};
}

void EgressGate::enter(EgressMode mode, Term term) {
  {
    const std::lock_guard lock{mutex_};
    if (term != term_) committed_ = Epoch{};  // acks count in their own term alone
    mode_ = mode;
    term_ = term;
    if (mode == EgressMode::kMute) {
      drop_waiting();
      unconfirmed_since_.reset();  // nothing is left that could leave unconfirmed; a later mode is a new decision
    }
  }
  wake();
}

void EgressGate::mute() { enter(EgressMode::kMute, Term{}); }
void EgressGate::hold(Term term) { enter(EgressMode::kHold, term); }
void EgressGate::pair(Term term) { enter(EgressMode::kPair, term); }
void EgressGate::solo(Term term) { enter(EgressMode::kSolo, term); }

void EgressGate::close_epoch(Epoch epoch) {
  const std::lock_guard lock{mutex_};
  US_CHECK(epoch == open_epoch_);
  open_epoch_ = after(epoch);
}

void EgressGate::set_open_epoch(Epoch epoch) {
  const std::lock_guard lock{mutex_};
  US_CHECK(mode_ == EgressMode::kMute && ring_.empty() && epoch.raw() > 0);
  open_epoch_ = epoch;
}

Epoch EgressGate::open_epoch() const {
  const std::lock_guard lock{mutex_};
  return open_epoch_;
}

void EgressGate::commit(Term term, Epoch epoch) {
  {
    const std::lock_guard lock{mutex_};
    if (mode_ == EgressMode::kMute || term != term_) {
      ++stats_.foreign_commits;
      return;
    }
    US_CHECK(epoch < open_epoch_);  // an epoch commits only after it was closed
    if (epoch <= committed_) return;
    committed_ = epoch;
  }
  wake();
}

void EgressGate::drop_all() {
  const std::lock_guard lock{mutex_};
  drop_waiting();
}

bool EgressGate::empty() const {
  const std::lock_guard lock{mutex_};
  return ring_.empty();
}

void EgressGate::drop_waiting() {
  stats_.dropped_muted += ring_.drop_all_but(sending_ ? 1 : 0);
  if (sending_) front_dropped_ = true;
  signal_room();
}

void EgressGate::signal_room() {
  if (!room_wanted_ || !ring_.fits(kMaxFrameBytes)) return;
  room_wanted_ = false;
  ::eventfd_write(room_.get(), 1);
}

bool EgressGate::front_may_leave() const {
  if (ring_.empty() || unconfirmed_since_) return false;
  if (mode_ == EgressMode::kSolo) return true;
  return mode_ == EgressMode::kPair && ring_.front_epoch() <= committed_;
}

bool EgressGate::watch_gap(Instant now, Duration* length) {
  const Instant before = std::exchange(last_pump_, now).value_or(now);
  *length = now - before;
  if (*length <= config_.max_gap) return false;
  ++stats_.gaps;
  if (mode_ == EgressMode::kMute) return false;
  unconfirmed_since_ = now;
  return true;
}

std::size_t EgressGate::pump(const Clock& clock) {
  std::size_t left = 0;
  Duration gap{};
  Instant now{};
  bool gap_seen = false;
  std::unique_lock lock{mutex_};
  pass_receive_offloads(lock);
  while (left < kBurst) {
    // Before every frame: a host may be stopped in the midst of a burst, and wake with the rest of it still permitted.
    now = clock.now();
    gap_seen = watch_gap(now, &gap) || gap_seen;
    if (!front_may_leave()) break;
    // The frame's bytes stay where they are until it is popped, which only this thread does while sending_ is set.
    const std::span<const std::byte> frame = ring_.front();
    const FrameOffload offload = ring_.front_offload();
    sending_ = true;
    lock.unlock();
    const Result<void> sent = port_.send(offload, frame);
    lock.lock();
    sending_ = false;
    const bool dropped = std::exchange(front_dropped_, false);
    if (!sent && sent.error().code() == ErrorCode::kBusy && !dropped) break;
    ring_.pop_front();
    if (sent) {
      ++stats_.released;
      ++left;
    } else if (dropped) {
      ++stats_.dropped_muted;
    } else {
      ++stats_.dropped_by_port;
    }
    signal_room();
  }
  stats_.oldest_age = ring_.empty() ? Duration{} : now - ring_.front_at();
  lock.unlock();
  if (gap_seen && gap_) gap_(now, gap);
  return left;
}

// Here, since this thread alone may wait for the kernel: the machine's device loop never does.
void EgressGate::pass_receive_offloads(std::unique_lock<std::mutex>& lock) {
  if (!receive_offloads_) return;
  const Offloads taken = *std::exchange(receive_offloads_, std::nullopt);
  lock.unlock();
  const Result<void> passed = port_.set_receive_offloads(taken);
  lock.lock();
  if (!passed) ++stats_.offload_errors;
}

bool EgressGate::sendable() const {
  const std::lock_guard lock{mutex_};
  return front_may_leave();
}

void EgressGate::confirm_term(Term term, Instant asked_at) {
  {
    const std::lock_guard lock{mutex_};
    if (!unconfirmed_since_ || term != term_ || asked_at < *unconfirmed_since_) return;
    unconfirmed_since_.reset();
  }
  wake();
}

void EgressGate::wake() {
  if (wake_ && sendable()) wake_();
}

EgressGateStats EgressGate::stats() const {
  const std::lock_guard lock{mutex_};
  EgressGateStats stats = stats_;
  stats.mode = mode_;
  stats.term = term_;
  stats.open_epoch = open_epoch_;
  stats.committed = committed_;
  stats.unconfirmed = unconfirmed_since_.has_value();
  stats.depth_frames = ring_.frames();
  stats.depth_bytes = ring_.bytes();
  return stats;
}

}  // namespace understudy
