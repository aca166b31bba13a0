// Makes the machine's devices, in a fixed order, and steers them together.
//
// Order: serial0, power0, pvpanic0, then the net devices, then the blk devices, as configured, then rng0, balloon0 and rtc0. Both nodes of
// a pair must configure the same (device_ids()). Virtio-mmio windows of 4 KiB go up from 0xD0000000, each with an edge-triggered GSI from 5
// up (8, 9 and 13, the PC's clock, ACPI and coprocessor, left out); serial0 is the PC's COM1 (port 0x3F8, GSI 4), power0 the ACPI registers
// (port 0x600, GSI 9), pvpanic0 has port 0x505, rtc0 is the PC's clock (port 0x70, GSI 8).
//
// Devices are made quiesced: nothing moves until the first resume(), for a fresh guest as well.
//
// Threading: everything here is for the machine's controlling thread (one at a time, never the device loop's); devices' rings are worked on
// by the device loop alone.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <capnp/list.h>

#include "net/base/addresses.h"
#include "net/base/event_loop.h"
#include "vmm/backend.h"
#include "vmm/bus.h"
#include "vmm/device.h"
#include "vmm/device_node.h"
#include "vmm/devices/power/power.h"
#include "vmm/devices/pvpanic/pvpanic.h"
#include "vmm/devices/serial/serial.h"
#include "vmm/guest_memory.h"

namespace understudy {

struct NetDeviceConfig {
  MacAddress mac{};
  std::shared_ptr<NetBackend> backend;
  unsigned queue_pairs = 1;  // as many as the machine has vCPUs
};
struct BlkDeviceConfig {
  std::shared_ptr<BlockBackend> backend;
};
struct DevicesConfig {
  Serial::Sink serial_sink;    // may be empty: output vanishes
  Pvpanic::Sink panic_sink{};  // may be empty
  std::vector<NetDeviceConfig> net;
  std::vector<BlkDeviceConfig> blk;
  std::uint64_t balloon_pages = 0;  // of 4 KiB, that a fresh guest is asked to give back (Balloon::set_target)
};

// To be registered as KVM_IRQFD, and listed in the guest's MP table as edge-triggered, active high.
struct InterruptRoute {
  int fd;
  std::uint32_t gsi;
};
// To be registered as KVM_IOEVENTFD: a 4-byte MMIO write of `value` at `address` (virtio 1.2, 4.2.3.3). Optional: an unregistered one comes
// by MMIO exit and works as well.
struct NotifyRoute {
  int fd;
  GuestPhysicalAddress address;
  std::uint32_t value;
};

// What the devices refused, since their creation.
struct DeviceCounters {
  std::uint64_t unclaimed_accesses = 0;  // of ports and MMIO
  std::uint64_t refused_transmits = 0;   // frames against virtio's rules
  std::uint64_t refused_receives = 0;    // frames that fit no buffer of the guest, or what it takes on
};

class Balloon;

class DeviceManager {
 public:
  static constexpr std::uint64_t kMmioBase = 0xD000'0000;
  static constexpr std::uint64_t kMmioWindowBytes = 4096;
  static constexpr std::uint64_t kSerialPort = 0x3F8;
  static constexpr std::uint32_t kSerialGsi = 4;
  static constexpr std::uint64_t kPowerPort = 0x600;
  static constexpr std::uint32_t kPowerGsi = 9;
  static constexpr std::uint64_t kRtcPort = 0x70;
  static constexpr std::uint32_t kRtcGsi = 8;
  static constexpr std::uint32_t kFirstVirtioGsi = 5;
  static constexpr std::uint32_t kLastGsi = 23;  // of the in-kernel IOAPIC's 24 pins

  // kInvalid: a backend is missing, a MAC is a group address, too many queue pairs, or more devices than GSIs. `device_loop` outlives the
  // result.
  static Result<std::unique_ptr<DeviceManager>> create(DevicesConfig config, std::shared_ptr<GuestMemory> memory, EventLoop& device_loop);
  // Takes the devices off the loop first, and guest memory out of the disks' hands; if the loop does not answer within 5 s they live as
  // long as the loop does.
  ~DeviceManager();
  DeviceManager(const DeviceManager&) = delete;
  DeviceManager& operator=(const DeviceManager&) = delete;

  // For vCPU threads.
  Bus& port_bus();
  Bus& mmio_bus();

  std::vector<InterruptRoute> interrupts() const;
  std::vector<NotifyRoute> notifications() const;
  // For Linux: " virtio_mmio.device=4K@0xd0000000:5 ...", with a leading space.
  std::string kernel_command_line() const;
  // What a guest cannot find by itself, for its ACPI tables; in creation order.
  const std::vector<DeviceNode>& device_nodes() const;
  // In creation order, with geometry: "serial0", "power0", "pvpanic0", "net0:52:54:00:12:34:56" (":2-queue-pairs",
  // ":tap-without-offloads"), "blk0:67108864" (":ro" when read-only), "rng0", "balloon0", "rtc0".
  std::vector<std::string> device_ids() const;
  Serial& serial();
  Power& power();
  Balloon& balloon();

  // Since when a disk's backend holds the oldest request that it did not complete: evidence of the host's storage. Any thread.
  std::optional<Instant> oldest_disk_request() const;
  DeviceCounters counters() const;  // any thread

  // One message to the device loop quiesces every device. After it no ring moves, and the pages of reads in flight are marked written. On
  // kTimeout (the loop did not answer within `deadline`) or a device's error the devices run on as if not asked.
  Result<void> quiesce(Duration deadline);
  // Lets the devices go on; does not wait for it. Call it after the irqchip's state is restored: what a restored device raises must not be
  // overwritten. Also starts the devices of a fresh machine.
  void resume();

  // While quiesced. One DeviceState per device, in creation order.
  std::size_t device_count() const;
  void save(capnp::List<schema::DeviceState>::Builder out) const;
  // Whether restore() would accept it: same devices, known versions, sound content. Changes nothing; also while running.
  Result<void> check(capnp::List<schema::DeviceState>::Reader in) const;
  // On devices that never ran. Checks all before it changes any. Guest memory may be restored before or after, but before resume().
  Result<void> restore(capnp::List<schema::DeviceState>::Reader in);

 private:
  struct Devices;
  DeviceManager(std::shared_ptr<Devices> devices, EventLoop& loop);

  // Shared with the messages on the loop, which may outlive a caller that timed out.
  const std::shared_ptr<Devices> devices_;
  EventLoop& loop_;
};

}  // namespace understudy
