// What device tests share: guest memory, a device loop in its own thread, and backends under the test's control.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <ranges>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include "net/base/addresses.h"
#include "net/base/event_loop.h"
#include "vmm/backend.h"
#include "vmm/guest_memory.h"

namespace understudy {

inline constexpr std::uint64_t kRigMemoryBytes = std::uint64_t{8} << 20;
inline constexpr auto kHangBound = std::chrono::seconds{30};
inline constexpr MacAddress kMac{{0x52, 0x54, 0, 0x12, 0x34, 0x56}};

inline void signal_fd(int fd) {
  const std::uint64_t one = 1;
  ASSERT_EQ(::write(fd, &one, sizeof one), static_cast<ssize_t>(sizeof one));
}
// Takes what an eventfd holds; 0 when it is not readable.
inline std::uint64_t drain_fd(int fd) {
  std::uint64_t count = 0;
  return ::read(fd, &count, sizeof count) == static_cast<ssize_t>(sizeof count) ? count : 0;
}
inline UniqueFd make_eventfd() { return UniqueFd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)}; }

inline std::vector<std::byte> pattern(std::size_t size, unsigned seed) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>((i * 31 + seed * 101 + (i >> 8)) & 0xFF);
  return bytes;
}

class DeviceRig {
 public:
  DeviceRig() {
    auto made = GuestMemory::create(kRigMemoryBytes);
    auto started = LoopThread::start(clock, "devices");
    EXPECT_TRUE(made && started);
    memory = *made;
    thread = std::move(*started);
  }
  EventLoop& loop() { return thread->loop(); }
  void on_loop(EventLoop::Callback call) { ASSERT_TRUE(loop().post_and_wait(std::move(call), kHangBound)); }
  // Everything that was signalled before this call has been handled after it, and all that came of it on the loop: a kick, the backend's
  // completion of what it asked for, and so on.
  void settle() {
    on_loop([this] { EXPECT_TRUE(loop().run_ready()) << "the device never rests"; });
  }
  PageSet written() {
    PageSet pages{memory->page_count()};
    memory->host_writes().drain(pages);
    return pages;
  }

  MonotonicClock clock;
  std::shared_ptr<GuestMemory> memory;
  std::unique_ptr<LoopThread> thread;
};

class FakeNetBackend final : public NetBackend {
 public:
  explicit FakeNetBackend(bool offloads = true) : offloads_{offloads} {}

  bool offloads() const override { return offloads_; }
  void set_receive_offloads(const Offloads& taken) override {
    const std::lock_guard lock{mutex_};
    receive_offloads_.push_back(taken);
  }
  bool transmit(const FrameOffload& offload, std::span<const ConstBytes> pieces) override {
    const std::lock_guard lock{mutex_};
    ++transmit_calls_;
    if (room_ == 0) return false;
    if (room_ > 0) --room_;
    auto& frame = sent_.emplace_back();
    for (const auto& piece : pieces) frame.insert(frame.end(), piece.begin(), piece.end());
    sent_offloads_.push_back(offload);
    return true;
  }
  int room_fd() const override { return room_fd_.get(); }
  std::expected<ReceivedFrame, NoFrame> receive(MutableBytes frame) override {
    const std::lock_guard lock{mutex_};
    ++receive_calls_;
    if (gone_) return std::unexpected{NoFrame::kGone};  // and stays readable, as a deleted tap does
    drain_fd(receive_fd_.get());
    if (incoming_.empty()) return std::unexpected{NoFrame::kNoneWaits};
    const auto [next, offload] = std::move(incoming_.front());
    incoming_.pop_front();
    std::ranges::copy(next, frame.begin());
    if (!incoming_.empty()) signal_fd(receive_fd_.get());
    return ReceivedFrame{next.size(), offload};
  }
  int receive_fd() const override { return receive_fd_.get(); }

  void arrive(std::vector<std::byte> frame, const FrameOffload& offload = {}) {
    const std::lock_guard lock{mutex_};
    incoming_.emplace_back(std::move(frame), offload);
    signal_fd(receive_fd_.get());
  }
  void vanish() {
    const std::lock_guard lock{mutex_};
    gone_ = true;
    signal_fd(receive_fd_.get());
  }
  // Frames that may still be sent; negative: without limit.
  void set_room(int frames) {
    const std::lock_guard lock{mutex_};
    room_ = frames;
    if (frames != 0) signal_fd(room_fd_.get());
  }
  std::vector<std::vector<std::byte>> sent() const { return locked(sent_); }
  std::size_t waiting() const { return locked(incoming_).size(); }
  std::size_t transmit_calls() const { return locked(transmit_calls_); }
  std::size_t receive_calls() const { return locked(receive_calls_); }
  std::vector<FrameOffload> sent_offloads() const { return locked(sent_offloads_); }
  std::vector<Offloads> receive_offloads() const { return locked(receive_offloads_); }  // as set, one after another

 private:
  template <class T>
  T locked(const T& value) const {
    const std::lock_guard lock{mutex_};
    return value;
  }
  const UniqueFd room_fd_ = make_eventfd();
  const UniqueFd receive_fd_ = make_eventfd();
  mutable std::mutex mutex_;
  int room_ = -1;
  std::size_t transmit_calls_ = 0;
  std::size_t receive_calls_ = 0;
  bool gone_ = false;
  const bool offloads_;
  std::deque<std::pair<std::vector<std::byte>, FrameOffload>> incoming_;
  std::vector<FrameOffload> sent_offloads_;
  std::vector<Offloads> receive_offloads_;
  std::vector<std::vector<std::byte>> sent_;
};

// A disk in memory. While held, requests stay in flight until complete().
class FakeBlockBackend final : public BlockBackend {
 public:
  struct Submitted {
    BlockOperation operation;
    std::uint64_t offset_bytes;
    std::size_t bytes;
    BlockCookie cookie;
    friend bool operator==(const Submitted&, const Submitted&) = default;
  };
  explicit FakeBlockBackend(std::size_t capacity, bool read_only = false) : disk_(capacity), read_only_{read_only} {}

  std::uint64_t capacity_bytes() const override { return disk_.size(); }
  bool read_only() const override { return read_only_; }
  std::string serial_number() const override { return "understudy-disk-0"; }
  bool submit(const BlockRequest& request) override {
    const std::lock_guard lock{mutex_};
    if (in_flight_.size() >= queue_limit_) return false;
    std::size_t bytes = 0;
    for (const auto& piece : request.memory) {
      EXPECT_LE(request.offset_bytes + bytes + piece.size(), disk_.size());
      if (request.operation == BlockOperation::kWrite) std::ranges::copy(piece, disk_.begin() + at(request.offset_bytes + bytes));
      bytes += piece.size();
    }
    for (const BlockExtent& extent : request.extents) {
      EXPECT_LE(extent.offset_bytes + extent.length_bytes, disk_.size());
      std::fill_n(disk_.begin() + at(extent.offset_bytes), extent.length_bytes, std::byte{0});
    }
    latest_ = {{request.extents.begin(), request.extents.end()}, request.keep_space, request.stable};
    in_flight_.push_back(
        {{request.operation, request.offset_bytes, bytes, request.cookie}, {request.memory.begin(), request.memory.end()}});
    submitted_.push_back(in_flight_.back().request);
    if (!held_) signal_fd(completion_fd_.get());
    return true;
  }
  int completion_fd() const override { return completion_fd_.get(); }
  std::size_t reap(std::span<BlockCompletion> completions) override {
    const std::lock_guard lock{mutex_};
    drain_fd(completion_fd_.get());
    std::size_t count = 0;
    for (auto each = in_flight_.begin(); each != in_flight_.end() && count < completions.size();) {
      if (held_ && std::ranges::find(released_, each->request.cookie) == released_.end()) {
        ++each;
        continue;
      }
      fill(*each);
      completions[count++] = {each->request.cookie};
      std::erase(released_, each->request.cookie);
      each = in_flight_.erase(each);
    }
    if (count == completions.size()) signal_fd(completion_fd_.get());
    return count;
  }
  bool abandon_in_flight(std::chrono::nanoseconds) override {
    const std::lock_guard lock{mutex_};
    in_flight_.clear();
    return true;
  }

  void hold() {
    const std::lock_guard lock{mutex_};
    held_ = true;
  }
  void set_queue_limit(std::size_t limit) {
    const std::lock_guard lock{mutex_};
    queue_limit_ = limit;
  }
  void complete(BlockCookie cookie) {
    const std::lock_guard lock{mutex_};
    released_.push_back(cookie);
    signal_fd(completion_fd_.get());
  }
  void release_all() {
    const std::lock_guard lock{mutex_};
    held_ = false;
    signal_fd(completion_fd_.get());
  }
  // A read's bytes reach guest memory before its completion does.
  void fill_reads() {
    const std::lock_guard lock{mutex_};
    for (auto& each : in_flight_) fill(each);
  }
  std::vector<Submitted> submitted() const {
    const std::lock_guard lock{mutex_};
    return submitted_;
  }
  // What the latest request asked for besides.
  struct Details {
    std::vector<BlockExtent> extents;
    bool keep_space = false;
    bool stable = false;
  };
  Details latest() const {
    const std::lock_guard lock{mutex_};
    return latest_;
  }
  std::size_t in_flight() const {
    const std::lock_guard lock{mutex_};
    return in_flight_.size();
  }
  std::vector<std::byte>& disk() { return disk_; }  // while no request is in flight

 private:
  struct InFlight {
    Submitted request;
    std::vector<MutableBytes> memory;
  };
  static std::ptrdiff_t at(std::uint64_t offset) { return static_cast<std::ptrdiff_t>(offset); }
  void fill(const InFlight& each) {
    if (each.request.operation != BlockOperation::kRead) return;
    std::uint64_t offset = each.request.offset_bytes;
    for (const auto& piece : each.memory) {
      std::memcpy(piece.data(), disk_.data() + offset, piece.size());
      offset += piece.size();
    }
  }
  std::vector<std::byte> disk_;
  const bool read_only_;
  const UniqueFd completion_fd_ = make_eventfd();
  mutable std::mutex mutex_;
  bool held_ = false;
  std::size_t queue_limit_ = 1000;
  std::vector<InFlight> in_flight_;
  std::vector<BlockCookie> released_;
  std::vector<Submitted> submitted_;
  Details latest_;
};

}  // namespace understudy
