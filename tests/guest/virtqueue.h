// The driver's half of a split virtqueue with event index (virtio 1.2, 2.7). Pure: it touches its ring memory alone.
//
// One thread. The device runs beside it, so every shared word is read and written atomically, with the fences of 2.7.13.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace understudy::guest {

struct VirtqueueDescriptor {
  std::uint64_t address;
  std::uint32_t length;
  std::uint16_t flags;
  std::uint16_t next;
};
static_assert(sizeof(VirtqueueDescriptor) == 16);

// What device and driver share; guest-physical equals virtual here. The used ring has a page of its own: the device writes it.
struct VirtqueueMemory {
  static constexpr std::uint16_t kMaxSize = 128;
  alignas(4096) std::array<VirtqueueDescriptor, kMaxSize> descriptors;
  struct {
    std::uint16_t flags;
    std::uint16_t index;
    std::array<std::uint16_t, kMaxSize + 1> ring;  // after the first `size` entries: used_event
  } available;
  struct UsedElement {
    std::uint32_t id;
    std::uint32_t length;
  };
  struct Used {
    std::uint16_t flags;
    std::uint16_t index;
    std::array<UsedElement, kMaxSize> ring;
    std::uint16_t available_event_if_full;
  };
  alignas(4096) Used used;
};

class Virtqueue {
 public:
  struct Segment {
    std::uint64_t address;
    std::uint32_t length;
    bool device_writes;
  };
  struct Completed {
    std::uint16_t head;
    std::uint32_t length;  // bytes the device wrote
  };

  // `memory` is zeroed and outlives this; `size`: a power of two up to VirtqueueMemory::kMaxSize. `event_index`: both sides agreed on it.
  void init(VirtqueueMemory& memory, std::uint16_t size, bool event_index);
  std::uint16_t size() const { return size_; }
  std::uint16_t free_descriptors() const { return free_count_; }

  // Puts a chain into the ring, still unseen by the device; returns its head. nullopt: not enough descriptors.
  std::optional<std::uint16_t> add(std::span<const Segment> segments);
  // Shows the device everything added. True: it wants a notification.
  bool publish();
  // The next completed chain, whose descriptors are free again; nullopt: none. A used element that cannot be stops at `broken()`.
  std::optional<Completed> take();
  bool broken() const { return broken_; }
  // Asks for an interrupt once one more chain completes (`after` more). True: one has completed meanwhile: look again before waiting.
  bool ask_interrupt(std::uint16_t after = 1);

 private:
  std::uint16_t used_index() const;

  VirtqueueMemory* memory_ = nullptr;
  std::uint16_t size_ = 0;
  bool event_index_ = false;
  bool broken_ = false;
  std::uint16_t free_head_ = 0;
  std::uint16_t free_count_ = 0;
  std::uint16_t added_ = 0;      // available index as we fill it
  std::uint16_t published_ = 0;  // available index as the device sees it
  std::uint16_t taken_ = 0;      // used index up to which we took
  std::array<bool, VirtqueueMemory::kMaxSize> in_flight_{};
};

}  // namespace understudy::guest
