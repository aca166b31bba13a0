// virtio-net (virtio 1.2, 5.1): frames in and out of buffers that belong to this driver. vCPU 0 alone.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "tests/guest/ip_stack.h"
#include "tests/guest/virtio_mmio.h"

namespace understudy::guest {

class NetDevice {
 public:
  // Takes the device over; receive buffers are in its ring on return.
  void start(VirtioMmio transport);
  const MacAddress& mac() const { return mac_; }

  // The next received frame, valid until release_received().
  std::optional<InBytes> received();
  void release_received();

  // A buffer for a frame, or nothing while all are with the device. send() adds it to the ring; flush() shows the ring to the device.
  std::optional<OutBytes> transmit_buffer();
  void send(std::size_t bytes);
  void flush();

  void acknowledge_interrupt() { transport_.acknowledge_interrupt(); }
  // Asks for the interrupt that there is work after: of receive, or while no buffer is free of transmit. True: there is work already.
  bool ask_interrupts();

 private:
  static constexpr std::size_t kHeaderBytes = 12;  // virtio_net_hdr with num_buffers: always, with VERSION_1
  static constexpr std::size_t kBufferBytes = 2048;
  using Buffer = std::array<unsigned char, kBufferBytes>;

  void add_receive_buffer(std::uint16_t buffer);
  void reap_transmitted();

  VirtioMmio transport_;
  MacAddress mac_{};
  Virtqueue receive_;
  Virtqueue transmit_;
  std::optional<std::uint16_t> received_buffer_;
  std::uint16_t free_transmit_buffers_ = 0;
  std::array<std::uint16_t, VirtqueueMemory::kMaxSize> receive_buffer_of_{};   // by head
  std::array<std::uint16_t, VirtqueueMemory::kMaxSize> transmit_buffer_of_{};  // by head
  std::array<std::uint16_t, VirtqueueMemory::kMaxSize> free_transmit_{};
  VirtqueueMemory receive_memory_{};
  VirtqueueMemory transmit_memory_{};
  alignas(4096) std::array<Buffer, VirtqueueMemory::kMaxSize> receive_buffers_{};
  alignas(4096) std::array<Buffer, VirtqueueMemory::kMaxSize> transmit_buffers_{};
};

}  // namespace understudy::guest
