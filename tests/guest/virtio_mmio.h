// The virtio-mmio transport, modern (virtio 1.2, 4.2), from the driver's side.
#pragma once

#include <cstdint>

#include "tests/guest/virtqueue.h"

namespace understudy::guest {

class VirtioMmio {
 public:
  static constexpr std::uint32_t kNetDevice = 1;
  static constexpr std::uint32_t kBlockDevice = 2;
  static constexpr std::uint64_t kEventIndex = std::uint64_t{1} << 29;
  static constexpr std::uint64_t kVersion1 = std::uint64_t{1} << 32;

  constexpr VirtioMmio() = default;
  explicit constexpr VirtioMmio(std::uint64_t base) : base_{base} {}

  // What sits there: a device id, 0 for none.
  std::uint32_t probe() const;
  // Resets, acknowledges, negotiates `wanted` of what is offered (version 1 always); returns what both have. Refuses a device without.
  std::uint64_t negotiate(std::uint64_t wanted) const;
  void set_up_queue(std::uint32_t index, Virtqueue& queue, VirtqueueMemory& memory, bool event_index) const;
  void set_driver_ok() const;
  void notify(std::uint32_t queue) const;
  // Reads and clears the interrupt's cause.
  void acknowledge_interrupt() const;
  std::uint32_t config32(std::uint32_t offset) const;
  std::uint8_t config8(std::uint32_t offset) const;

 private:
  std::uint64_t base_ = 0;
};

}  // namespace understudy::guest
