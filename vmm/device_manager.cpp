#include "vmm/device_manager.h"

#include <atomic>
#include <utility>

#include <fmt/format.h>

#include "net/base/check.h"
#include "net/base/log.h"
#include "vmm/devices/balloon/balloon.h"
#include "vmm/devices/blk/blk.h"
#include "vmm/devices/net/net.h"
#include "vmm/devices/rng/rng.h"
#include "vmm/devices/rtc/rtc.h"

namespace understudy {
namespace {

constexpr auto kDetachPatience = std::chrono::seconds{5};
constexpr std::size_t kAlwaysThere = 2;  // of virtio devices, configured or not

// Left out: the PC's real-time clock and coprocessor, which a guest may look for, and ACPI's own.
bool is_free_gsi(std::uint32_t gsi) { return gsi != 8 && gsi != DeviceManager::kPowerGsi && gsi != 13; }

std::vector<std::uint32_t> virtio_gsis() {
  std::vector<std::uint32_t> gsis;
  for (std::uint32_t gsi = DeviceManager::kFirstVirtioGsi; gsi <= DeviceManager::kLastGsi; ++gsi)
    if (is_free_gsi(gsi)) gsis.push_back(gsi);
  return gsis;
}

}  // namespace

struct DeviceManager::Devices {
  std::unique_ptr<Serial> serial;
  std::unique_ptr<Power> power;
  std::unique_ptr<Pvpanic> pvpanic;
  std::vector<std::unique_ptr<Net>> nets;
  std::vector<std::unique_ptr<Blk>> blks;
  std::unique_ptr<Rng> rng;
  std::unique_ptr<Balloon> balloon;
  std::unique_ptr<Rtc> rtc;
  std::vector<std::string> geometries;
  std::vector<DeviceNode> nodes;
  // In creation order.
  std::vector<Device*> all;
  std::vector<VirtioMmio*> virtio;
  Bus ports;
  Bus mmio;

  Result<void> quiesce_all() {
    for (Device* const device : all) {
      if (auto quiesced = device->quiesce(); !quiesced) {
        resume_all();
        return std::move(quiesced.error()).within("quiesce device " + std::string{device->id()});
      }
    }
    return {};
  }
  void resume_all() {
    for (Device* const device : all) device->resume();
  }
};

Result<std::unique_ptr<DeviceManager>> DeviceManager::create(DevicesConfig config, std::shared_ptr<GuestMemory> memory,
                                                             EventLoop& device_loop) {
  US_CHECK(memory != nullptr);
  const std::size_t configured_count = config.net.size() + config.blk.size();
  const std::size_t room = virtio_gsis().size() - kAlwaysThere;
  if (configured_count > room)
    return Error{ErrorCode::kInvalid, fmt::format("{} network and disk devices: a machine has interrupts for {}", configured_count, room)};
  auto devices = std::make_shared<Devices>();

  US_ASSIGN(auto serial_interrupt, InterruptLine::create());
  devices->serial = std::make_unique<Serial>("serial0", std::move(serial_interrupt), std::move(config.serial_sink));
  devices->all.push_back(devices->serial.get());
  devices->geometries.emplace_back("serial0");
  US_TRY(devices->ports.add(kSerialPort, Serial::kPortCount, *devices->serial));
  devices->nodes.push_back({.hardware_id = "PNP0501", .ports = PortRange{kSerialPort, Serial::kPortCount}, .gsi = kSerialGsi});

  // No node: ACPI's fixed hardware is found by the FADT.
  US_ASSIGN(auto power_interrupt, InterruptLine::create());
  devices->power = std::make_unique<Power>("power0", std::move(power_interrupt));
  devices->all.push_back(devices->power.get());
  devices->geometries.emplace_back("power0");
  US_TRY(devices->ports.add(kPowerPort, Power::kPortCount, *devices->power));

  devices->pvpanic = std::make_unique<Pvpanic>("pvpanic0", std::move(config.panic_sink));
  devices->all.push_back(devices->pvpanic.get());
  devices->geometries.emplace_back("pvpanic0");
  US_TRY(devices->ports.add(Pvpanic::kPort, Pvpanic::kPortCount, *devices->pvpanic));
  devices->nodes.push_back({.hardware_id = "QEMU0001", .ports = PortRange{Pvpanic::kPort, Pvpanic::kPortCount}});

  const auto next_slot = [&](std::string id) {
    const GuestPhysicalAddress window{kMmioBase + devices->virtio.size() * kMmioWindowBytes};
    return VirtioSlot{.id = std::move(id), .window = window, .memory = memory, .loop = &device_loop};
  };
  const auto place = [&, gsis = virtio_gsis()](VirtioMmio& device, std::string geometry) {
    devices->nodes.push_back(
        {.hardware_id = "LNRO0005", .memory = MemoryRange{device.window(), kMmioWindowBytes}, .gsi = gsis[devices->virtio.size()]});
    devices->all.push_back(&device);
    devices->virtio.push_back(&device);
    devices->geometries.push_back(std::move(geometry));
    return devices->mmio.add(device.window().raw(), kMmioWindowBytes, device);
  };
  for (std::size_t i = 0; i < config.net.size(); ++i) {
    auto& wanted = config.net[i];
    US_ASSIGN(auto net, Net::create(next_slot(fmt::format("net{}", i)), wanted.mac, std::move(wanted.backend), wanted.queue_pairs));
    devices->nets.push_back(std::move(net));
    US_TRY(place(*devices->nets.back(), fmt::format("net{}:{}{}", i, wanted.mac.text(), devices->nets.back()->geometry())));
  }
  for (std::size_t i = 0; i < config.blk.size(); ++i) {
    US_ASSIGN(auto blk, Blk::create(next_slot(fmt::format("blk{}", i)), std::move(config.blk[i].backend)));
    devices->blks.push_back(std::move(blk));
    const Blk& made = *devices->blks.back();
    US_TRY(place(*devices->blks.back(), fmt::format("blk{}:{}{}", i, made.capacity_bytes(), made.read_only() ? ":ro" : "")));
  }
  US_ASSIGN(devices->rng, Rng::create(next_slot("rng0")));
  US_TRY(place(*devices->rng, "rng0"));
  US_ASSIGN(devices->balloon, Balloon::create(next_slot("balloon0"), config.balloon_pages));
  US_TRY(place(*devices->balloon, "balloon0"));
  US_ASSIGN(devices->rtc, Rtc::create("rtc0", device_loop, memory->page_count() * kPageSizeBytes));
  devices->all.push_back(devices->rtc.get());
  devices->geometries.emplace_back("rtc0");
  US_TRY(devices->ports.add(kRtcPort, Rtc::kPortCount, *devices->rtc));
  devices->nodes.push_back({.hardware_id = "PNP0B00", .ports = PortRange{kRtcPort, Rtc::kPortCount}, .gsi = kRtcGsi});
  return std::unique_ptr<DeviceManager>{new DeviceManager{std::move(devices), device_loop}};
}

DeviceManager::DeviceManager(std::shared_ptr<Devices> devices, EventLoop& loop) : devices_{std::move(devices)}, loop_{loop} {}

DeviceManager::~DeviceManager() {
  // The message holds the devices, so that a loop that is stuck in one of them now finds it whole later.
  const bool detached = loop_.post_and_wait(
      [devices = devices_] {
        for (VirtioMmio* const device : devices->virtio) device->detach();
        devices->rtc->detach();
      },
      kDetachPatience);
  if (!detached) log(Severity::kError, "device loop does not answer, its devices stay until it does");
}

Bus& DeviceManager::port_bus() { return devices_->ports; }
Bus& DeviceManager::mmio_bus() { return devices_->mmio; }
Serial& DeviceManager::serial() { return *devices_->serial; }
Power& DeviceManager::power() { return *devices_->power; }
const std::vector<DeviceNode>& DeviceManager::device_nodes() const { return devices_->nodes; }
Balloon& DeviceManager::balloon() { return *devices_->balloon; }
std::vector<std::string> DeviceManager::device_ids() const { return devices_->geometries; }

std::vector<InterruptRoute> DeviceManager::interrupts() const {
  std::vector<InterruptRoute> routes{{devices_->serial->interrupt().fd(), kSerialGsi}, {devices_->power->interrupt().fd(), kPowerGsi}};
  const auto gsis = virtio_gsis();
  for (std::size_t i = 0; i < devices_->virtio.size(); ++i) routes.push_back({devices_->virtio[i]->interrupt().fd(), gsis[i]});
  routes.push_back({devices_->rtc->interrupt().fd(), kRtcGsi});
  return routes;
}

std::vector<NotifyRoute> DeviceManager::notifications() const {
  std::vector<NotifyRoute> routes;
  for (const VirtioMmio* const device : devices_->virtio) {
    const GuestPhysicalAddress address{device->window().raw() + VirtioMmio::kQueueNotifyOffset};
    for (unsigned queue = 0; queue < device->queue_count(); ++queue) routes.push_back({device->notify_fd(queue), address, queue});
  }
  return routes;
}

std::string DeviceManager::kernel_command_line() const {
  std::string line;
  const auto gsis = virtio_gsis();
  for (std::size_t i = 0; i < devices_->virtio.size(); ++i)
    line += fmt::format(" virtio_mmio.device={}K@{:#x}:{}", kMmioWindowBytes / 1024, devices_->virtio[i]->window().raw(), gsis[i]);
  return line;
}

std::optional<Instant> DeviceManager::oldest_disk_request() const {
  std::optional<Instant> oldest;
  for (const auto& blk : devices_->blks) {
    const auto since = blk->oldest_request();
    if (since && (!oldest || *since < *oldest)) oldest = since;
  }
  return oldest;
}

DeviceCounters DeviceManager::counters() const {
  DeviceCounters counters;
  for (const Bus* const bus : {&devices_->ports, &devices_->mmio})
    counters.unclaimed_accesses += bus->unclaimed_reads() + bus->unclaimed_writes();
  for (const auto& net : devices_->nets) {
    counters.refused_transmits += net->refused_transmits();
    counters.refused_receives += net->refused_receives();
  }
  return counters;
}

Result<void> DeviceManager::quiesce(Duration deadline) {
  // Who comes second decides: a message that starts after the caller gave up does nothing, one that ends after it undoes its work.
  enum class Stage : std::uint8_t { kWaiting, kRunning, kDone, kGivenUp };
  struct Request {
    std::atomic<Stage> stage{Stage::kWaiting};
    Result<void> outcome;
  };
  const auto request = std::make_shared<Request>();
  loop_.post_and_wait(
      [devices = devices_, request] {
        Stage expected = Stage::kWaiting;
        if (!request->stage.compare_exchange_strong(expected, Stage::kRunning)) return;
        request->outcome = devices->quiesce_all();
        expected = Stage::kRunning;
        if (!request->stage.compare_exchange_strong(expected, Stage::kDone) && request->outcome) devices->resume_all();
      },
      deadline);
  if (request->stage.exchange(Stage::kGivenUp) == Stage::kDone) return std::move(request->outcome);
  return Error{ErrorCode::kTimeout, fmt::format("quiesce devices: the device loop did not answer within {:.1f} ms", to_ms(deadline))};
}

void DeviceManager::resume() {
  loop_.post([devices = devices_] { devices->resume_all(); });
}

std::size_t DeviceManager::device_count() const { return devices_->all.size(); }

void DeviceManager::save(capnp::List<schema::DeviceState>::Builder out) const {
  US_CHECK(out.size() == device_count());
  for (unsigned i = 0; i < out.size(); ++i) devices_->all[i]->save(out[i]);
}

Result<void> DeviceManager::check(capnp::List<schema::DeviceState>::Reader in) const {
  if (in.size() != device_count())
    return Error{ErrorCode::kInvalid, fmt::format("the saved state has {} devices, this machine {}", in.size(), device_count())};
  for (unsigned i = 0; i < in.size(); ++i) US_TRY(devices_->all[i]->check(in[i]));
  return {};
}

Result<void> DeviceManager::restore(capnp::List<schema::DeviceState>::Reader in) {
  US_TRY(check(in));
  for (unsigned i = 0; i < in.size(); ++i) US_TRY(devices_->all[i]->restore(in[i]));
  return {};
}

}  // namespace understudy
