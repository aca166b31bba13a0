// What the fuzz targets of whole devices share: guest memory, a loop that runs on the target's own thread, the driver's first steps, and
// saving a device into a twin. No thread but the target's: so a run follows from its input alone, and costs microseconds.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <unistd.h>
#include <vector>

#include <capnp/message.h>
#include <linux/virtio_mmio.h>

#include "input_reader.h"
#include "net/base/check.h"
#include "net/base/event_loop.h"
#include "vmm/devices/virtio/virtio_mmio.h"

namespace understudy::fuzz {

struct Bench {
  MonotonicClock clock;
  std::shared_ptr<GuestMemory> memory = *GuestMemory::create(GuestMemory::kMinBytes);
  std::unique_ptr<EventLoop> loop = *EventLoop::create(clock);
};
inline Bench& bench() {
  static Bench bench;
  return bench;
}
inline VirtioSlot slot(const char* id) { return {id, GuestPhysicalAddress{0xD000'0000}, bench().memory, bench().loop.get()}; }
// All that was signalled before has been handled after. A device that never comes to rest would spin on a host's core.
inline void settle() { US_CHECK(bench().loop->run_ready()); }

inline void signal_fd(int fd) {
  const std::uint64_t one = 1;
  US_CHECK(::write(fd, &one, sizeof one) == static_cast<ssize_t>(sizeof one));
}
inline void drain_fd(int fd) {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto got = ::read(fd, &count, sizeof count);
}

inline void put(std::uint64_t at, ConstBytes bytes) { US_CHECK(bench().memory->write(GuestPhysicalAddress{at}, bytes)); }
template <class T>
void put_value(std::uint64_t at, const T& value) {
  put(at, std::as_bytes(std::span{&value, 1}));
}
template <class T>
T get_value(std::uint64_t at) {
  T value;
  US_CHECK(bench().memory->read(GuestPhysicalAddress{at}, std::as_writable_bytes(std::span{&value, 1})));
  return value;
}
inline bool in_guest_memory(ConstBytes bytes) {
  const auto file = bench().memory->file();
  return bytes.data() >= file.data() && bytes.data() + bytes.size() <= file.data() + file.size();
}

struct RawDescriptor {
  std::uint64_t address;
  std::uint32_t length;
  std::uint16_t flags;
  std::uint16_t next;
};
inline constexpr std::uint16_t kRingSize = 8;

inline void write_register(Device& device, std::uint64_t offset, std::uint32_t value) {
  device.write(offset, std::as_bytes(std::span{&value, 1}));
}
// A driver's way to DRIVER_OK (virtio 1.2, 3.1.1): `low_features` and VERSION_1, and rings of kRingSize at `rings`, `ring_bytes` apart.
inline void start_device(VirtioMmio& device, std::uint32_t low_features, std::uint64_t rings, std::uint64_t ring_bytes) {
  write_register(device, VIRTIO_MMIO_STATUS, 0);
  write_register(device, VIRTIO_MMIO_STATUS, 3);
  write_register(device, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
  write_register(device, VIRTIO_MMIO_DRIVER_FEATURES, low_features);
  write_register(device, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
  write_register(device, VIRTIO_MMIO_DRIVER_FEATURES, 1);
  write_register(device, VIRTIO_MMIO_STATUS, 11);
  for (unsigned queue = 0; queue < device.queue_count(); ++queue) {
    const auto base = static_cast<std::uint32_t>(rings + ring_bytes * queue);
    write_register(device, VIRTIO_MMIO_QUEUE_SEL, queue);
    write_register(device, VIRTIO_MMIO_QUEUE_NUM, kRingSize);
    write_register(device, VIRTIO_MMIO_QUEUE_DESC_LOW, base);
    write_register(device, VIRTIO_MMIO_QUEUE_AVAIL_LOW, base + 0x1000);
    write_register(device, VIRTIO_MMIO_QUEUE_USED_LOW, base + 0x2000);
    write_register(device, VIRTIO_MMIO_QUEUE_READY, 1);
  }
  write_register(device, VIRTIO_MMIO_STATUS, 15);
}

inline bool same_messages(capnp::MessageBuilder& one, capnp::MessageBuilder& other) {
  const auto left = one.getSegmentsForOutput();
  const auto right = other.getSegmentsForOutput();
  return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                    [](const auto& a, const auto& b) { return std::ranges::equal(a.asBytes(), b.asBytes()); });
}

// Saves the device of `from` (a specimen with `device`, whose destructor detaches it) and restores it in a new specimen, which must save
// the same; that one is returned, running.
template <class Specimen, class Make>
std::unique_ptr<Specimen> migrate(std::unique_ptr<Specimen> from, Make make) {
  US_CHECK(from->device->quiesce().has_value());
  capnp::MallocMessageBuilder message;
  from->device->save(message.initRoot<schema::DeviceState>());
  std::unique_ptr<Specimen> twin = make();
  US_CHECK(twin->device->restore(message.getRoot<schema::DeviceState>().asReader()).has_value());
  capnp::MallocMessageBuilder again;
  twin->device->save(again.initRoot<schema::DeviceState>());
  US_CHECK(same_messages(message, again));
  twin->device->resume();
  return twin;
}

// The same with a saved state that was damaged on the way: check() and restore() must agree on it, and what took it must live.
template <class Specimen, class Make>
std::unique_ptr<Specimen> migrate_damaged(std::unique_ptr<Specimen> from, InputReader& input, Make make) {
  US_CHECK(from->device->quiesce().has_value());
  capnp::MallocMessageBuilder message;
  from->device->save(message.initRoot<schema::DeviceState>());
  const auto segments = message.getSegmentsForOutput();
  std::vector<capnp::word> words(segments[0].begin(), segments[0].end());
  auto bytes = std::span{reinterpret_cast<std::uint8_t*>(words.data()), words.size() * sizeof(capnp::word)};
  for (unsigned count = 1 + input.byte() % 4; count > 0; --count) bytes[input.take<std::uint16_t>() % bytes.size()] ^= input.byte();
  const kj::ArrayPtr<const capnp::word> table[] = {{words.data(), words.size()}};
  capnp::SegmentArrayMessageReader reader{table, {.traversalLimitInWords = 1 << 16, .nestingLimit = 16}};
  std::unique_ptr<Specimen> twin = make();
  std::optional<schema::DeviceState::Reader> state;
  try {
    state = reader.getRoot<schema::DeviceState>();
  } catch (const kj::Exception&) {
  }
  if (state) {
    const bool accepted = twin->device->check(*state).has_value();
    US_CHECK(twin->device->restore(*state).has_value() == accepted);
  }
  twin->device->resume();
  return twin;
}

}  // namespace understudy::fuzz
