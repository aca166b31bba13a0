// A split virtqueue seen from the device (virtio 1.2, 2.7): takes descriptor chains from the driver and gives them back used.
//
// Nothing in the rings is trusted: every descriptor is read once, checked against guest memory and counted, so that no chain can loop. All
// that is written is marked in GuestMemory.
//
// Threading: one thread at a time (the owner's turn); the driver's vCPUs work on the same memory all the while.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "net/base/result.h"
#include "vmm/guest_memory.h"

namespace understudy {

inline constexpr std::uint16_t kMaxQueueSize = 256;

// Feature bits (virtio 1.2, 6). (linux/virtio_ring.h is no C++.)
inline constexpr unsigned kFeatureIndirect = 28;
inline constexpr unsigned kFeatureEventIndex = 29;

// One piece of a chain: it lies in one region of guest memory.
struct Segment {
  GuestPhysicalAddress address;
  std::uint32_t length = 0;
};

// A descriptor chain: first what the device may read, then what it may write. Large; kept by its owner and filled again and again.
struct Chain {
  std::uint16_t head = 0;
  std::uint16_t readable_count = 0;
  std::uint16_t count = 0;
  std::uint64_t readable_bytes = 0;
  std::uint64_t writable_bytes = 0;  // at most 2^32 - 1, as is a used length
  std::array<Segment, kMaxQueueSize> segments;

  std::span<const Segment> readable() const { return std::span{segments}.first(readable_count); }
  std::span<const Segment> writable() const { return std::span{segments}.first(count).subspan(readable_count); }
};

// Where a queue lies and how far it is: what a driver configures, and what a twin needs to go on.
struct QueueState {
  std::uint16_t size = 0;  // descriptors; a power of two
  bool ready = false;
  std::uint64_t descriptors = 0;
  std::uint64_t driver_area = 0;  // the available ring
  std::uint64_t device_area = 0;  // the used ring
  std::uint16_t next_available = 0;
  std::uint16_t next_used = 0;
};

enum class Pop : std::uint8_t { kEmpty, kChain, kBroken };

class Virtqueue {
 public:
  explicit Virtqueue(GuestMemory& memory) : memory_{&memory} {}

  // Whether `state` names a queue that lies in guest memory, aligned as 2.7 demands.
  static Result<void> check(const GuestMemory& memory, const QueueState& state);

  // Starts on the rings at the positions in `state`. kInvalid as check().
  Result<void> activate(const QueueState& state, bool event_index, bool indirect);
  void deactivate() { active_ = false; }
  bool active() const { return active_; }
  std::uint16_t size() const { return size_; }
  std::uint16_t next_available() const { return next_available_; }
  std::uint16_t next_used() const { return next_used_; }

  // The rest only while active.

  // Takes the next available chain. kBroken: see error(); the position stays.
  Pop pop(Chain& chain);
  // Gives the latest `count` popped chains back to the available ring.
  void unpop(std::uint16_t count) { next_available_ = static_cast<std::uint16_t>(next_available_ - count); }
  bool has_available() const;
  // Reads the chain that starts at `head` again: one that was popped and not yet used. False: see error().
  bool read_chain(std::uint16_t head, Chain& chain);

  // Returns a chain of which `written_bytes` were written. The driver sees it from publish() on.
  void push(std::uint16_t head, std::uint32_t written_bytes);
  // Shows the driver all that was pushed. True: it wants an interrupt for that (2.7.7.2).
  bool publish();

  // Asks the driver for a notification when it makes a chain available beyond the next `seen` ones, which the device knows of already and
  // leaves. True: one came meanwhile, and no notification may follow.
  bool enable_notifications(std::uint16_t seen = 0);
  // Spares the driver notifications while the device looks by itself.
  void disable_notifications();

  // Why the latest pop() or read_chain() said broken.
  const char* error() const { return error_; }

 private:
  struct Descriptor;
  Pop broken(const char* why) {
    error_ = why;
    return Pop::kBroken;
  }
  std::uint16_t load_available(std::uint64_t offset) const;
  void store_used(std::uint64_t offset, std::uint16_t value);
  std::uint64_t used_event_offset() const { return 4 + std::uint64_t{2} * size_; }
  std::uint64_t available_event_offset() const { return 4 + std::uint64_t{8} * size_; }

  GuestMemory* memory_;
  bool active_ = false;
  bool event_index_ = false;
  bool indirect_ = false;
  std::uint16_t size_ = 0;
  std::uint16_t next_available_ = 0;
  std::uint16_t next_used_ = 0;       // where push() writes
  std::uint16_t published_used_ = 0;  // what the driver has seen
  GuestPhysicalAddress used_address_;
  // Into guest memory's mapping, which outlives this.
  const std::byte* descriptors_ = nullptr;
  std::byte* available_ = nullptr;
  std::byte* used_ = nullptr;
  const char* error_ = "";
};

}  // namespace understudy
