// virtio-blk (virtio 1.2, 5.2): requests in slots, many in flight. vCPU 0 alone.
#pragma once

#include <array>
#include <cstdint>

#include "tests/guest/cpu.h"
#include "tests/guest/virtio_mmio.h"

namespace understudy::guest {

class BlockDevice {
 public:
  static constexpr std::size_t kSectorBytes = 512;
  static constexpr std::size_t kSlots = 32;

  // Takes the device over. `cpu` is the vCPU whose interrupts end a wait.
  void start(VirtioMmio transport, CpuBlock& cpu);
  std::uint64_t sectors() const { return sectors_; }

  // Starts a request; `data` stays as it is until wait_all(). The caller keeps at most kSlots in flight.
  void read(std::uint64_t sector, void* data, std::uint32_t bytes) { submit(kRead, sector, data, bytes); }
  void write(std::uint64_t sector, const void* data, std::uint32_t bytes) { submit(kWrite, sector, const_cast<void*>(data), bytes); }
  void flush() { submit(kFlush, 0, nullptr, 0); }
  // Sleeps until nothing is in flight. A request that fails stops the guest: the host must never let it see a failure.
  void wait_all();

 private:
  enum Operation : std::uint32_t { kRead = 0, kWrite = 1, kFlush = 4 };
  struct Slot {
    struct {
      std::uint32_t operation;
      std::uint32_t reserved;
      std::uint64_t sector;
    } header;
    volatile std::uint8_t status;
    bool in_flight;
    std::uint16_t head;
  };

  void submit(Operation operation, std::uint64_t sector, void* data, std::uint32_t bytes);
  void reap();

  VirtioMmio transport_;
  CpuBlock* cpu_ = nullptr;
  std::uint64_t sectors_ = 0;
  std::size_t in_flight_ = 0;
  Virtqueue queue_;
  VirtqueueMemory memory_{};
  std::array<Slot, kSlots> slots_{};
};

}  // namespace understudy::guest
