#include "vmm/device_manager.h"

#include <condition_variable>

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/serial_reg.h>

#include "tests/unit/vmm/device_rig.h"
#include "tests/unit/vmm/virtio_driver.h"

namespace understudy {
namespace {

using ::testing::HasSubstr;

DevicesConfig two_disks_and_a_nic() {
  DevicesConfig config;
  config.net.push_back({.mac = kMac, .backend = std::make_shared<FakeNetBackend>()});
  config.blk.push_back({std::make_shared<FakeBlockBackend>(1 << 20)});
  config.blk.push_back({std::make_shared<FakeBlockBackend>(1 << 16, true)});
  return config;
}

std::uint32_t read_bus(Bus& bus, std::uint64_t address) {
  std::uint32_t value = 0;
  bus.read(address, std::as_writable_bytes(std::span{&value, 1}));
  return value;
}

TEST(DeviceManager, PlacesDevicesInOrder) {
  DeviceRig rig;
  const auto made = DeviceManager::create(two_disks_and_a_nic(), rig.memory, rig.loop());
  ASSERT_TRUE(made) << made.error().text();
  DeviceManager& manager = **made;
  EXPECT_EQ(manager.device_ids(), (std::vector<std::string>{"serial0", "power0", "pvpanic0", "net0:52:54:00:12:34:56", "blk0:1048576",
                                                            "blk1:65536:ro", "rng0", "balloon0", "rtc0"}));
  EXPECT_EQ(manager.kernel_command_line(),
            " virtio_mmio.device=4K@0xd0000000:5 virtio_mmio.device=4K@0xd0001000:6 virtio_mmio.device=4K@0xd0002000:7"
            " virtio_mmio.device=4K@0xd0003000:10 virtio_mmio.device=4K@0xd0004000:11");
  const std::uint32_t types[] = {1, 2, 2, 4, 5};
  for (std::uint64_t i = 0; i < 5; ++i) EXPECT_EQ(read_bus(manager.mmio_bus(), 0xD000'0000 + 0x1000 * i + VIRTIO_MMIO_DEVICE_ID), types[i]);
  std::byte status{};
  manager.port_bus().read(0x3F8 + UART_LSR, {&status, 1});
  EXPECT_EQ(status, std::byte{UART_LSR_TEMT | UART_LSR_THRE});
  EXPECT_EQ(manager.counters().unclaimed_accesses, 0u);

  const auto interrupts = manager.interrupts();
  std::vector<std::uint32_t> gsis;
  for (const auto& route : interrupts) gsis.push_back(route.gsi);
  EXPECT_EQ(gsis, (std::vector<std::uint32_t>{4, 9, 5, 6, 7, 10, 11, 8}));
  const auto notifications = manager.notifications();
  ASSERT_EQ(notifications.size(), 9u);
  EXPECT_EQ(notifications[1].address, GuestPhysicalAddress{0xD000'0050});
  EXPECT_EQ(notifications[1].value, 1u);
  EXPECT_EQ(notifications[2].value, 2u) << "virtio-net's control queue";
  EXPECT_EQ(notifications[3].address, GuestPhysicalAddress{0xD000'1050});
  EXPECT_EQ(notifications[3].value, 0u);
}

TEST(DeviceManager, NamesWhatTheOtherNodesNetworkMustHaveAlike) {
  DeviceRig rig;
  DevicesConfig config;
  config.net.push_back({.mac = kMac, .backend = std::make_shared<FakeNetBackend>(false), .queue_pairs = 4});
  const auto made = DeviceManager::create(std::move(config), rig.memory, rig.loop());
  ASSERT_TRUE(made) << made.error().text();
  EXPECT_EQ((*made)->device_ids()[3], "net0:52:54:00:12:34:56:4-queue-pairs:tap-without-offloads");
  EXPECT_EQ((*made)->notifications().size(), 13u);
}

TEST(DeviceManager, NamesForTheFirmwareWhatNoGuestFindsByItself) {
  DeviceRig rig;
  const auto made = DeviceManager::create(two_disks_and_a_nic(), rig.memory, rig.loop());
  ASSERT_TRUE(made) << made.error().text();
  const auto& nodes = (*made)->device_nodes();
  ASSERT_EQ(nodes.size(), 8u);
  EXPECT_EQ(nodes[0].hardware_id, "PNP0501");
  EXPECT_EQ(nodes[0].ports->start, 0x3F8);
  EXPECT_EQ(nodes[0].ports->count, 8);
  EXPECT_EQ(nodes[0].gsi, 4u);
  EXPECT_EQ(nodes[1].hardware_id, "QEMU0001");
  EXPECT_EQ(nodes[1].ports->start, 0x505);
  const std::uint32_t gsis[] = {5, 6, 7, 10, 11};
  for (std::uint32_t i = 0; i < 5; ++i) {
    EXPECT_EQ(nodes[2 + i].hardware_id, "LNRO0005");
    EXPECT_EQ(nodes[2 + i].memory->start.raw(), 0xD000'0000 + 0x1000 * i);
    EXPECT_EQ(nodes[2 + i].memory->bytes, 0x1000u);
    EXPECT_EQ(nodes[2 + i].gsi, gsis[i]);
  }
  EXPECT_EQ(nodes[7].hardware_id, "PNP0B00");
  EXPECT_EQ(nodes[7].ports->start, 0x70);
  EXPECT_EQ(nodes[7].gsi, 8u);
}

TEST(DeviceManager, HasInterruptsForManyDevicesButNotForAll) {
  DeviceRig rig;
  const auto with = [&](unsigned nics) {
    DevicesConfig config;
    for (unsigned i = 0; i < nics; ++i) config.net.push_back({.mac = kMac, .backend = std::make_shared<FakeNetBackend>()});
    return DeviceManager::create(std::move(config), rig.memory, rig.loop());
  };
  const auto most = with(14);
  ASSERT_TRUE(most);
  std::vector<std::uint32_t> gsis;
  for (const auto& route : (*most)->interrupts()) gsis.push_back(route.gsi);
  EXPECT_EQ(gsis, (std::vector<std::uint32_t>{4, 9, 5, 6, 7, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 8}));
  const auto too_many = with(15);
  ASSERT_FALSE(too_many);
  EXPECT_THAT(too_many.error().text(), HasSubstr("15"));
}

TEST(DeviceManager, RefusesBadConfiguration) {
  DeviceRig rig;
  DevicesConfig no_backend;
  no_backend.net.push_back({kMac, nullptr});
  EXPECT_FALSE(DeviceManager::create(std::move(no_backend), rig.memory, rig.loop()));
  DevicesConfig no_disk;
  no_disk.blk.push_back({nullptr});
  EXPECT_FALSE(DeviceManager::create(std::move(no_disk), rig.memory, rig.loop()));
  DevicesConfig odd_disk;
  odd_disk.blk.push_back({std::make_shared<FakeBlockBackend>(1000)});
  const auto odd = DeviceManager::create(std::move(odd_disk), rig.memory, rig.loop());
  ASSERT_FALSE(odd);
  EXPECT_THAT(odd.error().text(), HasSubstr("blk0"));
}

// A device loop that stands still until told.
class StuckLoop {
 public:
  explicit StuckLoop(EventLoop& loop) : state_{std::make_shared<State>()} {
    loop.post([state = state_] {
      std::unique_lock lock{state->mutex};
      state->stuck = true;
      state->changed.notify_all();
      state->changed.wait(lock, [&] { return state->free; });
    });
    std::unique_lock lock{state_->mutex};
    state_->changed.wait(lock, [&] { return state_->stuck; });
  }
  ~StuckLoop() {
    const std::lock_guard lock{state_->mutex};
    state_->free = true;
    state_->changed.notify_all();
  }

 private:
  struct State {
    std::mutex mutex;
    std::condition_variable changed;
    bool stuck = false;
    bool free = false;
  };
  const std::shared_ptr<State> state_;
};

TEST(DeviceManager, QuiesceThatTimesOutLeavesTheDevicesRunning) {
  DeviceRig rig;
  const auto manager = *DeviceManager::create({}, rig.memory, rig.loop());
  manager->resume();
  rig.settle();
  {
    const StuckLoop stuck{rig.loop()};
    const auto quiesced = manager->quiesce(std::chrono::milliseconds{5});
    ASSERT_FALSE(quiesced);
    EXPECT_EQ(quiesced.error().code(), ErrorCode::kTimeout);
  }
  rig.settle();
  const std::byte key{'k'};
  EXPECT_EQ(manager->serial().receive({&key, 1}), 1u) << "a message that came late must not quiesce";
  ASSERT_TRUE(manager->quiesce(kHangBound));
  EXPECT_EQ(manager->serial().receive({&key, 1}), 0u);
  ASSERT_TRUE(manager->quiesce(kHangBound)) << "idempotent";
  manager->resume();
  rig.settle();
  EXPECT_EQ(manager->serial().receive({&key, 1}), 1u);
}

TEST(DeviceManager, WhateverTheCallerOfQuiesceIsToldIsWhatHolds) {
  // The deadline creeps to the moment at which the loop answers, so that it passes before, while and after the devices are quiesced. Many
  // devices make that moment long.
  DeviceRig rig;
  DevicesConfig config;
  for (unsigned i = 0; i < 14; ++i) config.net.push_back({.mac = kMac, .backend = std::make_shared<FakeNetBackend>()});
  const auto manager = *DeviceManager::create(std::move(config), rig.memory, rig.loop());
  const std::byte key{'k'};
  Duration deadline = std::chrono::microseconds{100};
  for (unsigned round = 0; round < 2000; ++round) {
    manager->resume();
    rig.settle();
    const bool quiesced = manager->quiesce(deadline).has_value();
    deadline = quiesced ? std::max(deadline - std::chrono::microseconds{1}, Duration{1}) : deadline + std::chrono::microseconds{1};
    rig.settle();
    ASSERT_EQ(manager->serial().receive({&key, 1}), quiesced ? 0u : 1u) << round;
    std::byte ignored{};
    manager->port_bus().read(DeviceManager::kSerialPort, {&ignored, 1});
  }
}

TEST(DeviceManager, DestroyingItTakesDisksOffGuestMemory) {
  DeviceRig rig;
  const auto disk = std::make_shared<FakeBlockBackend>(1 << 20);
  disk->hold();
  DevicesConfig config;
  config.blk.push_back({disk});
  auto manager = *DeviceManager::create(std::move(config), rig.memory, rig.loop());
  manager->resume();
  // One read in flight, by hand through the bus.
  class Window final : public Device {
   public:
    explicit Window(Bus& bus) : bus_{bus} {}
    std::string_view id() const override { return "window"; }
    void read(std::uint64_t offset, MutableBytes out) override { bus_.read(DeviceManager::kMmioBase + offset, out); }
    void write(std::uint64_t offset, ConstBytes in) override { bus_.write(DeviceManager::kMmioBase + offset, in); }
    Result<void> quiesce() override { return {}; }
    void resume() override {}
    void save(schema::DeviceState::Builder) const override {}
    Result<void> check(schema::DeviceState::Reader) const override { return {}; }
    Result<void> restore(schema::DeviceState::Reader) override { return {}; }

   private:
    Bus& bus_;
  } window{manager->mmio_bus()};
  VirtioDriver driver{window};
  DriverRing ring{*rig.memory, 0x10000, 8};
  ASSERT_TRUE(driver.negotiate(VirtioDriver::kVersion1));
  driver.set_queue(0, ring);
  driver.driver_ok();
  ring.add({{0x20000, 16}, {0x21000, 512, true}, {0x22000, 1, true}});
  driver.notify(0);
  rig.settle();
  ASSERT_EQ(disk->in_flight(), 1u);
  EXPECT_TRUE(manager->oldest_disk_request().has_value());
  manager.reset();
  EXPECT_EQ(disk->in_flight(), 0u);
}

}  // namespace
}  // namespace understudy
