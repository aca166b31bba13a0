// What a device needs of the host, filled in by the layers above: a place for frames, and a disk.
//
// Both are called on the machine's device loop, and never block it. A backend's failure or hang is never completed to a protected guest:
// the request stays in flight (design: "Who may run the guest", rule 8), and the backend tells its owner instead.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "net/base/frame_offload.h"

namespace understudy {

using ConstBytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

// Ethernet frames, without FCS; 14 to kMaxFrameBytes bytes. Each carries what it leaves to the one that takes it.
class NetBackend {
 public:
  static constexpr std::size_t kMaxFrameBytes = 65'550;
  virtual ~NetBackend() = default;

  // Whether the host takes offloads, all kinds in both directions. Fixed for the backend's life; any thread.
  virtual bool offloads() const = 0;
  // What the guest takes on for the frames that it receives; nothing at first. Works soon after: frames that wait already, and some that
  // arrive meanwhile, are as before.
  virtual void set_receive_offloads(const Offloads& taken) = 0;

  // Takes one frame from the guest, given in pieces, and copies it. The device has checked its offload (vmm/devices/net/offload.h).
  // False: no room now; the device leaves the frame in its ring and tries again when `room_fd()` is readable.
  virtual bool transmit(const FrameOffload& offload, std::span<const ConstBytes> pieces) = 0;
  // Readable (eventfd) once there is room again after transmit() said no. The device reads it empty.
  virtual int room_fd() const = 0;

  enum class NoFrame : std::uint8_t {
    kNoneWaits,
    kGone,  // nothing comes here any more: receive_fd() need not be watched, and may be readable for ever
  };
  // Copies the next frame for the guest to `frame`, which has room for kMaxFrameBytes.
  virtual std::expected<ReceivedFrame, NoFrame> receive(MutableBytes frame) = 0;
  // Readable while a frame may wait. Level-triggered.
  virtual int receive_fd() const = 0;
};

enum class BlockOperation : std::uint8_t { kRead, kWrite, kFlush, kZeros };

// Names a request between submit() and its completion; the device chooses it.
using BlockCookie = std::uint32_t;

struct BlockExtent {
  std::uint64_t offset_bytes;  // multiples of 512, the length not zero
  std::uint64_t length_bytes;
  friend bool operator==(const BlockExtent&, const BlockExtent&) = default;
};

struct BlockRequest {
  BlockOperation operation;
  std::uint64_t offset_bytes;  // of a read or write: a multiple of 512; else 0
  std::span<const MutableBytes>
      memory;  // guest memory, in order; total a multiple of 512. Valid until completion; the span itself only in submit()
  BlockCookie cookie;
  std::span<const BlockExtent> extents{};  // kZeros: what reads as zeros afterwards, at least one. Valid in submit() only
  bool keep_space = false;                 // kZeros: the extents stay allocated; else their space may go back to the host
  bool stable = false;                     // kWrite, kZeros: completes only once it is on stable storage, as if flushed
};

struct BlockCompletion {
  BlockCookie cookie;
};

class BlockBackend {
 public:
  static constexpr std::size_t kSectorBytes = 512;
  virtual ~BlockBackend() = default;

  virtual std::uint64_t capacity_bytes() const = 0;  // fixed while a machine uses it
  virtual bool read_only() const = 0;
  // Up to 20 bytes, as the guest sees it.
  virtual std::string serial_number() const = 0;

  // Starts a request that lies inside the capacity. A write's bytes are taken before submit() returns; a read fills guest memory at any
  // time until its completion. Overlapping requests take effect in the order of submission; a completed flush covers every write and
  // zeroing submitted before it. False: the queue is full; try again after a completion.
  virtual bool submit(const BlockRequest& request) = 0;
  // Readable (eventfd) while completions may wait.
  virtual int completion_fd() const = 0;
  // Takes up to completions.size() completed requests. A request that failed on the host never appears here.
  virtual std::size_t reap(std::span<BlockCompletion> completions) = 0;
  // After this no guest memory is touched and no completion appears for what is in flight. Bounded by `deadline` (false when it passed:
  // a read stuck in the kernel may still write to guest memory, so that memory must not be trusted any more).
  virtual bool abandon_in_flight(std::chrono::nanoseconds deadline) = 0;
};

}  // namespace understudy
