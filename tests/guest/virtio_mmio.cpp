#include "tests/guest/virtio_mmio.h"

#include "tests/guest/cpu.h"
#include "tests/guest/report.h"

namespace understudy::guest {
namespace {

// 4.2.2, table 4.1.
enum Register : std::uint32_t {
  kMagic = 0x000,
  kVersion = 0x004,
  kDeviceId = 0x008,
  kDeviceFeatures = 0x010,
  kDeviceFeaturesSelect = 0x014,
  kDriverFeatures = 0x020,
  kDriverFeaturesSelect = 0x024,
  kQueueSelect = 0x030,
  kQueueSizeMax = 0x034,
  kQueueSize = 0x038,
  kQueueReady = 0x044,
  kQueueNotify = 0x050,
  kInterruptStatus = 0x060,
  kInterruptAcknowledge = 0x064,
  kStatus = 0x070,
  kQueueDescriptors = 0x080,
  kQueueDriver = 0x090,
  kQueueDevice = 0x0a0,
  kConfig = 0x100,
};
enum Status : std::uint32_t { kAcknowledge = 1, kDriver = 2, kDriverOk = 4, kFeaturesOk = 8 };

}  // namespace

std::uint32_t VirtioMmio::probe() const {
  if (mmio_read(base_ + kMagic) != 0x74726976 || mmio_read(base_ + kVersion) != 2) return 0;
  return mmio_read(base_ + kDeviceId);
}

std::uint64_t VirtioMmio::negotiate(std::uint64_t wanted) const {
  mmio_write(base_ + kStatus, 0);
  while (mmio_read(base_ + kStatus) != 0) relax();
  mmio_write(base_ + kStatus, kAcknowledge);
  mmio_write(base_ + kStatus, kAcknowledge | kDriver);
  mmio_write(base_ + kDeviceFeaturesSelect, 1);
  std::uint64_t offered = std::uint64_t{mmio_read(base_ + kDeviceFeatures)} << 32;
  mmio_write(base_ + kDeviceFeaturesSelect, 0);
  offered |= mmio_read(base_ + kDeviceFeatures);
  if ((offered & kVersion1) == 0) refuse("a virtio device without VERSION_1 at ", base_);
  const std::uint64_t agreed = offered & (wanted | kVersion1);
  mmio_write(base_ + kDriverFeaturesSelect, 1);
  mmio_write(base_ + kDriverFeatures, static_cast<std::uint32_t>(agreed >> 32));
  mmio_write(base_ + kDriverFeaturesSelect, 0);
  mmio_write(base_ + kDriverFeatures, static_cast<std::uint32_t>(agreed));
  mmio_write(base_ + kStatus, kAcknowledge | kDriver | kFeaturesOk);
  if ((mmio_read(base_ + kStatus) & kFeaturesOk) == 0) refuse("features were not accepted by the virtio device at ", base_);
  return agreed;
}

void VirtioMmio::set_up_queue(std::uint32_t index, Virtqueue& queue, VirtqueueMemory& memory, bool event_index) const {
  mmio_write(base_ + kQueueSelect, index);
  std::uint32_t size = VirtqueueMemory::kMaxSize;
  const std::uint32_t max = mmio_read(base_ + kQueueSizeMax);
  while (size > max) size /= 2;
  if (size < 8) refuse("a virtio queue is too short, its device is at ", base_);
  queue.init(memory, static_cast<std::uint16_t>(size), event_index);
  const auto write64 = [this](std::uint32_t reg, const void* address) {
    const auto raw = reinterpret_cast<std::uint64_t>(address);
    mmio_write(base_ + reg, static_cast<std::uint32_t>(raw));
    mmio_write(base_ + reg + 4, static_cast<std::uint32_t>(raw >> 32));
  };
  mmio_write(base_ + kQueueSize, size);
  write64(kQueueDescriptors, &memory.descriptors);
  write64(kQueueDriver, &memory.available);
  write64(kQueueDevice, &memory.used);
  mmio_write(base_ + kQueueReady, 1);
}

void VirtioMmio::set_driver_ok() const { mmio_write(base_ + kStatus, kAcknowledge | kDriver | kFeaturesOk | kDriverOk); }

void VirtioMmio::notify(std::uint32_t queue) const { mmio_write(base_ + kQueueNotify, queue); }

void VirtioMmio::acknowledge_interrupt() const {
  if (const std::uint32_t cause = mmio_read(base_ + kInterruptStatus); cause != 0) mmio_write(base_ + kInterruptAcknowledge, cause);
}

std::uint32_t VirtioMmio::config32(std::uint32_t offset) const { return mmio_read(base_ + kConfig + offset); }

std::uint8_t VirtioMmio::config8(std::uint32_t offset) const {
  std::uint32_t value = 0;
  asm volatile("movzbl (%1), %0" : "=r"(value) : "r"(base_ + kConfig + offset) : "memory");
  return static_cast<std::uint8_t>(value);
}

}  // namespace understudy::guest
