#include "tests/kvm/guest_backends.h"

#include <algorithm>
#include <cstring>

#include <sys/eventfd.h>

#include "net/base/check.h"

namespace understudy::test {
namespace {

UniqueFd make_eventfd() {
  UniqueFd fd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  US_CHECK(fd);
  return fd;
}
void raise(const UniqueFd& fd) {
  const std::uint64_t one = 1;
  US_CHECK(::write(fd.get(), &one, sizeof one) == sizeof one);
}
void lower(const UniqueFd& fd) {
  std::uint64_t value = 0;
  [[maybe_unused]] const auto got = ::read(fd.get(), &value, sizeof value);  // EAGAIN: it was not raised
}

}  // namespace

MemoryNet::MemoryNet(std::size_t room_frames) : room_frames_{room_frames}, room_{make_eventfd()}, arrival_{make_eventfd()} {}

void MemoryNet::inject(const Frame& frame) {
  const std::lock_guard lock{mutex_};
  incoming_.push_back(frame);
  raise(arrival_);
}

std::optional<Frame> MemoryNet::next_sent(std::chrono::milliseconds deadline) {
  std::unique_lock lock{mutex_};
  if (!sent_changed_.wait_for(lock, deadline, [this] { return !sent_.empty(); })) return std::nullopt;
  Frame frame = std::move(sent_.front());
  sent_.pop_front();
  return frame;
}

void MemoryNet::hold(bool on) {
  const std::lock_guard lock{mutex_};
  holding_ = on;
  if (!on) release_locked(held_frames_.size());
}

void MemoryNet::release(std::size_t frames) {
  const std::lock_guard lock{mutex_};
  release_locked(frames);
}

void MemoryNet::release_locked(std::size_t frames) {
  for (; frames > 0 && !held_frames_.empty(); --frames) {
    sent_.push_back(std::move(held_frames_.front()));
    held_frames_.pop_front();
  }
  if (refused_ && !refusing_) {
    refused_ = false;
    raise(room_);
  }
  sent_changed_.notify_all();
}

std::size_t MemoryNet::held() const {
  const std::lock_guard lock{mutex_};
  return held_frames_.size();
}

void MemoryNet::refuse(bool on) {
  const std::lock_guard lock{mutex_};
  refusing_ = on;
  if (!on && refused_) {
    refused_ = false;
    raise(room_);
  }
}

void MemoryNet::set_receive_offloads(const Offloads& taken) {
  const std::lock_guard lock{mutex_};
  receive_offloads_ = taken;
}

Offloads MemoryNet::receive_offloads() const {
  const std::lock_guard lock{mutex_};
  return receive_offloads_;
}

// The test's end of the wire passes nothing on: what is left to it stays as it is.
bool MemoryNet::transmit(const FrameOffload& /*offload*/, std::span<const ConstBytes> pieces) {
  const std::lock_guard lock{mutex_};
  if (refusing_ || held_frames_.size() >= room_frames_) {
    refused_ = true;
    return false;
  }
  Frame frame;
  for (const ConstBytes piece : pieces) {
    const auto* const bytes = reinterpret_cast<const unsigned char*>(piece.data());
    frame.insert(frame.end(), bytes, bytes + piece.size());
  }
  (holding_ ? held_frames_ : sent_).push_back(std::move(frame));
  sent_changed_.notify_all();
  return true;
}

std::expected<ReceivedFrame, NetBackend::NoFrame> MemoryNet::receive(MutableBytes frame) {
  const std::lock_guard lock{mutex_};
  if (incoming_.empty()) {
    lower(arrival_);
    return std::unexpected{NoFrame::kNoneWaits};
  }
  const Frame next = std::move(incoming_.front());
  incoming_.pop_front();
  if (incoming_.empty()) lower(arrival_);
  US_CHECK(next.size() <= frame.size());
  std::memcpy(frame.data(), next.data(), next.size());
  return ReceivedFrame{.bytes = next.size(), .offload = {}};
}

MemoryDisk::MemoryDisk(std::vector<std::byte> content, std::chrono::microseconds slowest, std::uint64_t seed)
    : capacity_bytes_{content.size()}, slowest_{slowest}, completion_{make_eventfd()}, random_{seed}, content_{std::move(content)} {
  US_CHECK(capacity_bytes_ % kSectorBytes == 0);
  worker_ = std::thread{[this] { work(); }};
}

MemoryDisk::~MemoryDisk() {
  {
    const std::lock_guard lock{mutex_};
    stopping_ = true;
  }
  changed_.notify_all();
  worker_.join();
}

std::vector<std::byte> MemoryDisk::content() const {
  const std::lock_guard lock{mutex_};
  return content_;
}

std::size_t MemoryDisk::in_flight() const {
  const std::lock_guard lock{mutex_};
  return pending_.size() + completions_.size();
}

std::uint64_t MemoryDisk::completed() const {
  const std::lock_guard lock{mutex_};
  return completed_;
}

void MemoryDisk::hold() {
  const std::lock_guard lock{mutex_};
  held_ = true;
}

bool MemoryDisk::submit(const BlockRequest& request) {
  Pending pending{request.operation, request.offset_bytes, {}, {}, {request.extents.begin(), request.extents.end()}, request.cookie};
  std::size_t total = 0;
  for (const MutableBytes piece : request.memory) total += piece.size();
  US_CHECK(request.offset_bytes <= capacity_bytes_ && total <= capacity_bytes_ - request.offset_bytes);
  if (request.operation == BlockOperation::kRead) pending.memory.assign(request.memory.begin(), request.memory.end());
  if (request.operation == BlockOperation::kWrite) {
    for (const MutableBytes piece : request.memory) pending.bytes.insert(pending.bytes.end(), piece.begin(), piece.end());
  }
  {
    const std::lock_guard lock{mutex_};
    pending_.push_back(std::move(pending));
  }
  changed_.notify_all();
  return true;
}

std::size_t MemoryDisk::reap(std::span<BlockCompletion> completions) {
  const std::lock_guard lock{mutex_};
  const std::size_t count = std::min(completions.size(), completions_.size());
  for (std::size_t i = 0; i < count; ++i) {
    completions[i] = completions_.front();
    completions_.pop_front();
  }
  if (completions_.empty()) lower(completion_);
  return count;
}

bool MemoryDisk::abandon_in_flight(std::chrono::nanoseconds /*deadline*/) {
  const std::lock_guard lock{mutex_};
  pending_.clear();
  completions_.clear();
  lower(completion_);
  return true;
}

void MemoryDisk::work() {
  std::unique_lock lock{mutex_};
  while (true) {
    changed_.wait(lock, [this] { return stopping_ || (!pending_.empty() && !held_); });
    if (stopping_) return;
    const std::chrono::microseconds takes{random_() % (static_cast<std::uint64_t>(slowest_.count()) + 1)};
    if (changed_.wait_for(lock, takes, [this] { return stopping_; })) return;
    if (pending_.empty() || held_) continue;  // abandoned, or for later
    carry_out(pending_.front());
    completions_.push_back({pending_.front().cookie});
    ++completed_;
    pending_.pop_front();
    raise(completion_);
  }
}

void MemoryDisk::carry_out(const Pending& pending) {
  if (pending.operation == BlockOperation::kWrite)
    std::memcpy(content_.data() + pending.offset_bytes, pending.bytes.data(), pending.bytes.size());
  for (const BlockExtent& extent : pending.extents) std::memset(content_.data() + extent.offset_bytes, 0, extent.length_bytes);
  if (pending.operation == BlockOperation::kRead) {
    std::uint64_t at = pending.offset_bytes;
    for (const MutableBytes piece : pending.memory) {
      std::memcpy(piece.data(), content_.data() + at, piece.size());
      at += piece.size();
    }
  }
}

}  // namespace understudy::test
