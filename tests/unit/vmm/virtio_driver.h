// A virtio driver for tests: lays rings out in guest memory and speaks to a device through its register window, as a guest would.
#pragma once

#include <atomic>
#include <cstring>
#include <functional>
#include <optional>
#include <vector>

#include <gtest/gtest.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>

#include "vmm/device.h"
#include "vmm/devices/virtio/virtqueue.h"
#include "vmm/guest_memory.h"

namespace understudy {

inline std::uint32_t read_word(Device& device, std::uint64_t offset) {
  std::uint32_t value = 0;
  device.read(offset, std::as_writable_bytes(std::span{&value, 1}));
  return value;
}
inline void write_word(Device& device, std::uint64_t offset, std::uint32_t value) {
  device.write(offset, std::as_bytes(std::span{&value, 1}));
}

struct Buffer {
  std::uint64_t address;
  std::uint32_t length;
  bool writable = false;
};
struct Descriptor {
  std::uint64_t address = 0;
  std::uint32_t length = 0;
  std::uint16_t flags = 0;
  std::uint16_t next = 0;
};
inline constexpr std::uint16_t kDescriptorNext = 1;
inline constexpr std::uint16_t kDescriptorWrite = 2;
inline constexpr std::uint16_t kDescriptorIndirect = 4;

struct Used {
  std::uint32_t head;
  std::uint32_t length;
  friend bool operator==(const Used&, const Used&) = default;
};

// One split ring from the driver's end. Takes the descriptors in turn; the test must not have more in flight than there are.
class DriverRing {
 public:
  DriverRing(GuestMemory& memory, std::uint64_t base, std::uint16_t size) : memory_{&memory}, base_{base}, size_{size} {
    std::vector<std::byte> zeros(kBytes);
    EXPECT_TRUE(memory.write(GuestPhysicalAddress{base}, zeros));
  }
  static constexpr std::uint64_t kBytes = 0x4000;
  std::uint16_t size() const { return size_; }
  std::uint64_t descriptors() const { return base_; }
  std::uint64_t available() const { return base_ + 0x1000; }
  std::uint64_t used() const { return base_ + 0x2000; }

  void put_descriptor(std::uint64_t table, std::uint16_t index, const Descriptor& descriptor) {
    std::memcpy(bytes(table + std::uint64_t{16} * index, 16), &descriptor, sizeof descriptor);
  }
  // Fills descriptors for one chain and makes it available; returns its head.
  std::uint16_t add(const std::vector<Buffer>& buffers) {
    const std::uint16_t head = next_descriptor_;
    for (std::size_t i = 0; i < buffers.size(); ++i) {
      const std::uint16_t index = next_descriptor_;
      next_descriptor_ = static_cast<std::uint16_t>((next_descriptor_ + 1) % size_);
      put_descriptor(descriptors(), index, of(buffers[i], i + 1 < buffers.size(), next_descriptor_));
    }
    offer(head);
    return head;
  }
  // The same through an indirect table at `table`.
  std::uint16_t add_indirect(const std::vector<Buffer>& buffers, std::uint64_t table) {
    for (std::size_t i = 0; i < buffers.size(); ++i)
      put_descriptor(table, static_cast<std::uint16_t>(i), of(buffers[i], i + 1 < buffers.size(), static_cast<std::uint16_t>(i + 1)));
    const std::uint16_t head = next_descriptor_;
    next_descriptor_ = static_cast<std::uint16_t>((next_descriptor_ + 1) % size_);
    put_descriptor(descriptors(), head, {table, static_cast<std::uint32_t>(16 * buffers.size()), kDescriptorIndirect, 0});
    offer(head);
    return head;
  }
  void offer(std::uint16_t head) {
    word(available() + 4 + std::uint64_t{2} * (available_index_ % size_)).store(head);
    word(available() + 2).store(++available_index_);
  }
  void set_available_index(std::uint16_t index) { word(available() + 2).store(available_index_ = index); }
  std::uint16_t available_index() const { return available_index_; }

  std::optional<Used> take_used() {
    if (word(used() + 2).load() == seen_used_) return std::nullopt;
    Used entry;
    std::memcpy(&entry, bytes(used() + 4 + std::uint64_t{8} * (seen_used_ % size_), 8), sizeof entry);
    ++seen_used_;
    return entry;
  }
  std::vector<Used> take_all_used() {
    std::vector<Used> all;
    while (const auto entry = take_used()) all.push_back(*entry);
    return all;
  }
  std::uint16_t used_index() { return word(used() + 2).load(); }
  std::uint16_t used_flags() { return word(used()).load(); }
  std::uint16_t available_event() { return word(used() + 4 + std::uint64_t{8} * size_).load(); }
  void set_used_event(std::uint16_t event) { word(available() + 4 + std::uint64_t{2} * size_).store(event); }
  void set_available_flags(std::uint16_t flags) { word(available()).store(flags); }
  // Goes on in another memory with the same content: the twin's.
  void move_to(GuestMemory& memory) { memory_ = &memory; }

 private:
  static Descriptor of(const Buffer& buffer, bool more, std::uint16_t next) {
    const auto flags = static_cast<std::uint16_t>((more ? kDescriptorNext : 0) | (buffer.writable ? kDescriptorWrite : 0));
    return {buffer.address, buffer.length, flags, more ? next : std::uint16_t{0}};
  }
  std::byte* bytes(std::uint64_t address, std::size_t length) { return memory_->at(GuestPhysicalAddress{address}, length)->data(); }
  std::atomic_ref<std::uint16_t> word(std::uint64_t address) {
    return std::atomic_ref<std::uint16_t>{*reinterpret_cast<std::uint16_t*>(bytes(address, 2))};
  }
  GuestMemory* memory_;
  std::uint64_t base_;
  std::uint16_t size_;
  std::uint16_t next_descriptor_ = 0;
  std::uint16_t available_index_ = 0;
  std::uint16_t seen_used_ = 0;
};

class VirtioDriver {
 public:
  static constexpr std::uint64_t kVersion1 = std::uint64_t{1} << VIRTIO_F_VERSION_1;
  static constexpr std::uint64_t kEventIndex = std::uint64_t{1} << kFeatureEventIndex;
  static constexpr std::uint64_t kIndirect = std::uint64_t{1} << kFeatureIndirect;
  // What any driver of today takes, whatever the device.
  static constexpr std::uint64_t kUsual = kVersion1 | kEventIndex | kIndirect;

  explicit VirtioDriver(Device& device) : device_{&device} {}
  Device& device() { return *device_; }
  void move_to(Device& device) { device_ = &device; }

  std::uint32_t read(std::uint64_t offset) { return read_word(*device_, offset); }
  void write(std::uint64_t offset, std::uint32_t value) { write_word(*device_, offset, value); }
  std::uint32_t status() { return read(VIRTIO_MMIO_STATUS); }
  std::uint64_t offered() {
    std::uint64_t features = 0;
    for (std::uint32_t half = 0; half < 2; ++half) {
      write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, half);
      features |= std::uint64_t{read(VIRTIO_MMIO_DEVICE_FEATURES)} << (32 * half);
    }
    return features;
  }
  // Steps 1 to 6 of 3.1.1; whether the device agreed.
  bool negotiate(std::uint64_t features) {
    write(VIRTIO_MMIO_STATUS, 0);
    EXPECT_EQ(status(), 0u);
    write(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    write(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    for (std::uint32_t half = 0; half < 2; ++half) {
      write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, half);
      write(VIRTIO_MMIO_DRIVER_FEATURES, static_cast<std::uint32_t>(features >> (32 * half)));
    }
    write(VIRTIO_MMIO_STATUS, status() | VIRTIO_CONFIG_S_FEATURES_OK);
    return (status() & VIRTIO_CONFIG_S_FEATURES_OK) != 0;
  }
  void set_queue(unsigned index, std::uint16_t size, std::uint64_t descriptors, std::uint64_t available, std::uint64_t used) {
    write(VIRTIO_MMIO_QUEUE_SEL, index);
    write(VIRTIO_MMIO_QUEUE_NUM, size);
    write(VIRTIO_MMIO_QUEUE_DESC_LOW, static_cast<std::uint32_t>(descriptors));
    write(VIRTIO_MMIO_QUEUE_DESC_HIGH, static_cast<std::uint32_t>(descriptors >> 32));
    write(VIRTIO_MMIO_QUEUE_AVAIL_LOW, static_cast<std::uint32_t>(available));
    write(VIRTIO_MMIO_QUEUE_AVAIL_HIGH, static_cast<std::uint32_t>(available >> 32));
    write(VIRTIO_MMIO_QUEUE_USED_LOW, static_cast<std::uint32_t>(used));
    write(VIRTIO_MMIO_QUEUE_USED_HIGH, static_cast<std::uint32_t>(used >> 32));
    write(VIRTIO_MMIO_QUEUE_READY, 1);
  }
  void set_queue(unsigned index, const DriverRing& ring) {
    set_queue(index, ring.size(), ring.descriptors(), ring.available(), ring.used());
  }
  void driver_ok() { write(VIRTIO_MMIO_STATUS, status() | VIRTIO_CONFIG_S_DRIVER_OK); }
  void notify(std::uint32_t queue) { write(VIRTIO_MMIO_QUEUE_NOTIFY, queue); }
  std::uint32_t take_interrupt_status() {
    const std::uint32_t value = read(VIRTIO_MMIO_INTERRUPT_STATUS);
    write(VIRTIO_MMIO_INTERRUPT_ACK, value);
    return value;
  }

 private:
  Device* device_;
};

}  // namespace understudy
