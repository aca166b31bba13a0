// The transport, seen through a virtio-blk device over it.
#include "vmm/devices/virtio/virtio_mmio.h"

#include <gtest/gtest.h>

#include "tests/unit/vmm/device_rig.h"
#include "tests/unit/vmm/virtio_driver.h"
#include "vmm/devices/blk/blk.h"

namespace understudy {
namespace {

constexpr std::uint32_t kAgreed = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK;

class MmioTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kRing = 0x10000;
  static constexpr std::uint64_t kData = 0x100000;

  MmioTest() {
    const std::array<std::uint32_t, 4> flush{4, 0, 0, 0};
    EXPECT_TRUE(rig_.memory->write(GuestPhysicalAddress{kData}, std::as_bytes(std::span{flush})));
    rig_.on_loop([&] { device_->resume(); });
  }
  ~MmioTest() override {
    rig_.on_loop([&] { device_->detach(); });
  }
  std::unique_ptr<Blk> make() {
    auto made = Blk::create({"blk0", GuestPhysicalAddress{0xD000'0000}, rig_.memory, &rig_.loop()}, backend_);
    EXPECT_TRUE(made);
    return std::move(*made);
  }
  // A flush: the smallest whole request. All share one header, which the loop may be reading.
  std::uint16_t add_flush() { return ring_.add({{kData, 16}, {kData + 0x100, 1, true}}); }
  bool needs_reset() { return (driver_.status() & VIRTIO_CONFIG_S_NEEDS_RESET) != 0; }

  DeviceRig rig_;
  std::shared_ptr<FakeBlockBackend> backend_ = std::make_shared<FakeBlockBackend>(1 << 20);
  std::unique_ptr<Blk> device_ = make();
  VirtioDriver driver_{*device_};
  DriverRing ring_{*rig_.memory, kRing, 16};
};

TEST_F(MmioTest, IdentifiesItself) {
  EXPECT_EQ(driver_.read(VIRTIO_MMIO_MAGIC_VALUE), 0x74726976u);
  EXPECT_EQ(driver_.read(VIRTIO_MMIO_VERSION), 2u);
  EXPECT_EQ(driver_.read(VIRTIO_MMIO_DEVICE_ID), 2u);
  EXPECT_EQ(driver_.read(VIRTIO_MMIO_SHM_LEN_LOW), 0xFFFFFFFFu);
  EXPECT_EQ(driver_.read(VIRTIO_MMIO_CONFIG_GENERATION), 0u);
  EXPECT_EQ(driver_.offered() & VirtioDriver::kUsual, VirtioDriver::kUsual);
  driver_.write(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
  EXPECT_EQ(driver_.read(VIRTIO_MMIO_DEVICE_FEATURES), 0u);
  driver_.write(VIRTIO_MMIO_QUEUE_SEL, 0);
  EXPECT_EQ(driver_.read(VIRTIO_MMIO_QUEUE_NUM_MAX), kMaxQueueSize);
  driver_.write(VIRTIO_MMIO_QUEUE_SEL, 1);
  EXPECT_EQ(driver_.read(VIRTIO_MMIO_QUEUE_NUM_MAX), 0u);
}

TEST_F(MmioTest, AgreesOnlyToOfferedFeaturesWithVersion1) {
  EXPECT_TRUE(driver_.negotiate(VirtioDriver::kUsual));
  EXPECT_TRUE(driver_.negotiate(VirtioDriver::kVersion1));
  EXPECT_FALSE(driver_.negotiate(VirtioDriver::kEventIndex)) << "no legacy";
  EXPECT_FALSE(driver_.negotiate(VirtioDriver::kUsual | std::uint64_t{1} << 33)) << "never offered";
  driver_.driver_ok();
  EXPECT_EQ(driver_.status() & VIRTIO_CONFIG_S_DRIVER_OK, 0u) << "not without agreed features";
  ASSERT_TRUE(driver_.negotiate(VirtioDriver::kUsual));
  driver_.write(VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
  driver_.write(VIRTIO_MMIO_DRIVER_FEATURES, 0xFFFFFFFF);
  driver_.set_queue(0, ring_);
  driver_.driver_ok();
  EXPECT_FALSE(needs_reset()) << "features stand once agreed on";
}

TEST_F(MmioTest, StatusBitsAreOnlyAdded) {
  ASSERT_TRUE(driver_.negotiate(VirtioDriver::kUsual));
  driver_.write(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
  EXPECT_EQ(driver_.status(), kAgreed);
  driver_.write(VIRTIO_MMIO_STATUS, 0xFFFFFFFF);
  EXPECT_EQ(driver_.status() & ~0x8Fu, 0u) << "bits of the device or of nobody are not the driver's to set";
  driver_.write(VIRTIO_MMIO_STATUS, 0);
  EXPECT_EQ(driver_.status(), 0u);
}

TEST_F(MmioTest, ConsumesNothingBeforeDriverOkAndEverythingThen) {
  ASSERT_TRUE(driver_.negotiate(VirtioDriver::kUsual));
  driver_.set_queue(0, ring_);
  const auto head = add_flush();
  driver_.notify(0);
  rig_.settle();
  EXPECT_EQ(ring_.used_index(), 0);
  driver_.driver_ok();
  rig_.settle();
  EXPECT_EQ(ring_.take_all_used(), (std::vector<Used>{{head, 1}}));
}

TEST_F(MmioTest, QueueCannotChangeOnceReadyOrRunning) {
  ASSERT_TRUE(driver_.negotiate(VirtioDriver::kUsual));
  driver_.set_queue(0, ring_);
  driver_.set_queue(0, 8, 0, 0, 0);
  driver_.driver_ok();
  driver_.write(VIRTIO_MMIO_QUEUE_READY, 0);
  EXPECT_EQ(driver_.read(VIRTIO_MMIO_QUEUE_READY), 1u);
  add_flush();
  driver_.notify(0);
  rig_.settle();
  EXPECT_EQ(ring_.take_all_used().size(), 1u) << "still at its first place";
}

TEST_F(MmioTest, QueueOutsideMemoryNeedsAReset) {
  const struct {
    const char* name;
    std::uint16_t size;
    std::uint64_t descriptors, available, used;
  } cases[] = {
      {"descriptors beyond memory", 16, kRigMemoryBytes, kRing, kRing},
      {"available ring in the hole", 16, kRing, GuestMemory::kHoleStart, kRing},
      {"used ring wraps", 16, kRing, kRing, ~std::uint64_t{3}},
      {"unaligned descriptors", 16, kRing + 8, kRing, kRing},
      {"no size", 0, kRing, kRing, kRing},
      {"size is no power of two", 24, kRing, kRing, kRing},
      {"size beyond the maximum", 512, kRing, kRing, kRing},
  };
  for (const auto& each : cases) {
    ASSERT_TRUE(driver_.negotiate(VirtioDriver::kUsual));
    driver_.set_queue(0, each.size, each.descriptors, each.available, each.used);
    drain_fd(device_->interrupt().fd());
    driver_.driver_ok();
    EXPECT_TRUE(needs_reset()) << each.name;
    EXPECT_EQ(driver_.take_interrupt_status(), static_cast<std::uint32_t>(VIRTIO_MMIO_INT_CONFIG)) << each.name;
    EXPECT_GT(drain_fd(device_->interrupt().fd()), 0u) << each.name;
  }
  ASSERT_TRUE(driver_.negotiate(VirtioDriver::kUsual)) << "a reset mends it";
  EXPECT_FALSE(needs_reset());
}

TEST_F(MmioTest, OddAccessesAreHarmless) {
  for (std::uint64_t offset = 0; offset < 0x1000; ++offset) {
    for (const std::size_t size : std::array<std::size_t, 4>{1, 2, 4, 8}) {
      std::vector<std::byte> bytes(size, std::byte{0xEE});
      device_->read(offset, bytes);
      if (offset < VirtioMmio::kConfigOffset && (size != 4 || offset % 4 != 0)) {
        EXPECT_EQ(bytes, std::vector<std::byte>(size)) << offset;
      }
      if (size != 4) device_->write(offset, bytes);
    }
  }
  EXPECT_EQ(driver_.status(), 0u) << "only whole words count";
  std::uint64_t capacity = 0;
  device_->read(VirtioMmio::kConfigOffset, std::as_writable_bytes(std::span{&capacity, 1}));
  EXPECT_EQ(capacity, (1u << 20) / 512);
  device_->read(0xFFC, std::as_writable_bytes(std::span{&capacity, 1}));
  EXPECT_EQ(capacity, 0u);
}

TEST_F(MmioTest, InterruptStatusIsAcknowledgedByBit) {
  ASSERT_TRUE(driver_.negotiate(VirtioDriver::kUsual));
  driver_.set_queue(0, ring_);
  driver_.driver_ok();
  add_flush();
  driver_.notify(0);
  rig_.settle();
  EXPECT_EQ(driver_.read(VIRTIO_MMIO_INTERRUPT_STATUS), 1u);
  driver_.write(VIRTIO_MMIO_INTERRUPT_ACK, 2);
  EXPECT_EQ(driver_.read(VIRTIO_MMIO_INTERRUPT_STATUS), 1u);
  driver_.write(VIRTIO_MMIO_INTERRUPT_ACK, 1);
  EXPECT_EQ(driver_.read(VIRTIO_MMIO_INTERRUPT_STATUS), 0u);
}

TEST_F(MmioTest, ResetWhileTheLoopWorksIsClean) {
  for (unsigned round = 0; round < 200; ++round) {
    ring_ = DriverRing{*rig_.memory, kRing, 16};
    ASSERT_TRUE(driver_.negotiate(VirtioDriver::kUsual));
    driver_.set_queue(0, ring_);
    driver_.driver_ok();
    for (unsigned i = 0; i < 8; ++i) add_flush();
    driver_.notify(0);
    if (round % 2 == 0) std::this_thread::yield();
    driver_.write(VIRTIO_MMIO_STATUS, 0);
    while (driver_.status() != 0) rig_.settle();
    const auto used = ring_.used_index();
    rig_.settle();
    EXPECT_EQ(ring_.used_index(), used) << "no ring moves after the reset";
    EXPECT_EQ(driver_.read(VIRTIO_MMIO_INTERRUPT_STATUS), 0u);
  }
}

TEST_F(MmioTest, ResetWithRequestsInFlightIsOverWhenTheBackendIsDone) {
  ASSERT_TRUE(driver_.negotiate(VirtioDriver::kUsual));
  driver_.set_queue(0, ring_);
  driver_.driver_ok();
  backend_->hold();
  add_flush();
  driver_.notify(0);
  rig_.settle();
  ASSERT_EQ(backend_->in_flight(), 1u);
  driver_.write(VIRTIO_MMIO_STATUS, 0);
  EXPECT_NE(driver_.status(), 0u) << "the backend may still touch memory";
  driver_.write(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
  driver_.write(VIRTIO_MMIO_QUEUE_READY, 0);
  const auto used = ring_.used_index();
  backend_->release_all();
  rig_.settle();
  EXPECT_EQ(driver_.status(), 0u);
  EXPECT_EQ(ring_.used_index(), used) << "its completion reaches nobody";
  ring_ = DriverRing{*rig_.memory, kRing, 16};
  ASSERT_TRUE(driver_.negotiate(VirtioDriver::kUsual));
  driver_.set_queue(0, ring_);
  driver_.driver_ok();
  add_flush();
  driver_.notify(0);
  rig_.settle();
  EXPECT_EQ(ring_.take_all_used().size(), 1u);
}

}  // namespace
}  // namespace understudy
