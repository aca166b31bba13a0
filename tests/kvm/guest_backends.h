// A network and a disk in memory, for machines under test.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "net/base/unique_fd.h"
#include "vmm/backend.h"

namespace understudy::test {

using Frame = std::vector<unsigned char>;

// The wire between a guest and a test. What the guest sends may be held back and released or dropped, as an egress gate does.
// Any thread.
class MemoryNet final : public NetBackend {
 public:
  explicit MemoryNet(std::size_t room_frames = 1024);

  // The test's end.
  void inject(const Frame& frame);
  // The next frame that left the guest; waits for it up to `deadline`.
  std::optional<Frame> next_sent(std::chrono::milliseconds deadline);
  void hold(bool on);                // off releases
  void release(std::size_t frames);  // the first of what is held, in order
  std::size_t held() const;
  void refuse(bool on);  // no room, until off

  bool offloads() const override { return true; }
  void set_receive_offloads(const Offloads& taken) override;
  // What the guest took on last.
  Offloads receive_offloads() const;
  bool transmit(const FrameOffload& offload, std::span<const ConstBytes> pieces) override;
  int room_fd() const override { return room_.get(); }
  std::expected<ReceivedFrame, NoFrame> receive(MutableBytes frame) override;
  int receive_fd() const override { return arrival_.get(); }

 private:
  void release_locked(std::size_t frames);

  const std::size_t room_frames_;
  const UniqueFd room_;
  const UniqueFd arrival_;
  mutable std::mutex mutex_;
  std::condition_variable sent_changed_;
  std::deque<Frame> incoming_;  // all below guarded by mutex_
  std::deque<Frame> held_frames_;
  std::deque<Frame> sent_;
  bool holding_ = false;
  bool refusing_ = false;
  bool refused_ = false;
  Offloads receive_offloads_;
};

// A disk whose requests take a random while, so that some are in flight at any moment. Completes in order.
class MemoryDisk final : public BlockBackend {
 public:
  // `content`: a multiple of 512 bytes. Each request takes up to `slowest`.
  MemoryDisk(std::vector<std::byte> content, std::chrono::microseconds slowest, std::uint64_t seed);
  ~MemoryDisk() override;

  // The disk as it is now: completed writes, and of those in flight none.
  std::vector<std::byte> content() const;
  std::size_t in_flight() const;    // submitted, and not reaped
  std::uint64_t completed() const;  // since it was made
  // From now on nothing completes: what the guest asks for stays in flight, however long a pause takes on a slow host.
  void hold();

  std::uint64_t capacity_bytes() const override { return capacity_bytes_; }
  bool read_only() const override { return false; }
  std::string serial_number() const override { return "memory"; }
  bool submit(const BlockRequest& request) override;
  int completion_fd() const override { return completion_.get(); }
  std::size_t reap(std::span<BlockCompletion> completions) override;
  bool abandon_in_flight(std::chrono::nanoseconds deadline) override;

 private:
  struct Pending {
    BlockOperation operation;
    std::uint64_t offset_bytes;
    std::vector<MutableBytes> memory;  // of a read
    std::vector<std::byte> bytes;      // of a write
    std::vector<BlockExtent> extents;  // of zeros
    BlockCookie cookie;
  };
  void work();
  void carry_out(const Pending& pending);

  const std::uint64_t capacity_bytes_;
  const std::chrono::microseconds slowest_;
  const UniqueFd completion_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::mt19937_64 random_;  // all below guarded by mutex_
  std::vector<std::byte> content_;
  std::deque<Pending> pending_;
  std::deque<BlockCompletion> completions_;
  std::uint64_t completed_ = 0;
  bool stopping_ = false;
  bool held_ = false;
  std::thread worker_;
};

}  // namespace understudy::test
