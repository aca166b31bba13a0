// A virtio-blk device over a disk in memory, with a driver that makes its requests.
#pragma once

#include <capnp/message.h>
#include <gtest/gtest.h>
#include <linux/virtio_blk.h>

#include "tests/unit/vmm/device_rig.h"
#include "tests/unit/vmm/virtio_driver.h"
#include "vmm/devices/blk/blk.h"

namespace understudy::blk_test {

inline constexpr std::uint64_t kRing = 0x10000;
inline constexpr std::uint64_t kHeaders = 0x20000;
inline constexpr std::uint64_t kData = 0x100000;
inline constexpr std::size_t kCapacity = 1 << 20;
inline constexpr std::size_t kSector = 512;
inline constexpr std::uint16_t kSize = 16;
inline constexpr std::uint64_t kZeroFeatures =
    VirtioDriver::kUsual | std::uint64_t{1} << VIRTIO_BLK_F_DISCARD | std::uint64_t{1} << VIRTIO_BLK_F_WRITE_ZEROES;
inline constexpr std::uint8_t kUnanswered = 0xEE;

class BlkTest : public ::testing::Test {
 protected:
  BlkTest() { start(std::make_shared<FakeBlockBackend>(kCapacity)); }
  ~BlkTest() override { stop(*device_); }

  void start(std::shared_ptr<FakeBlockBackend> backend, std::uint64_t features = VirtioDriver::kUsual) {
    if (device_) stop(*device_);
    backend_ = std::move(backend);
    device_ = make(rig_, backend_);
    driver_.emplace(*device_);
    ring_ = DriverRing{*rig_.memory, kRing, kSize};
    rig_.on_loop([&] { device_->resume(); });
    ASSERT_TRUE(driver_->negotiate(features | (backend_->read_only() ? std::uint64_t{1} << VIRTIO_BLK_F_RO : 0)));
    driver_->set_queue(0, ring_);
    driver_->driver_ok();
    rig_.settle();
  }
  static std::unique_ptr<Blk> make(DeviceRig& rig, std::shared_ptr<FakeBlockBackend> backend) {
    auto made = Blk::create({"blk0", GuestPhysicalAddress{0xD000'0000}, rig.memory, &rig.loop()}, std::move(backend));
    EXPECT_TRUE(made) << made.error().text();
    return std::move(*made);
  }
  void stop(Blk& device) {
    rig_.on_loop([&] { device.detach(); });
  }
  struct Request {
    std::uint16_t head;
    std::uint64_t status;
  };
  Request add(std::uint32_t type, std::uint64_t sector, const std::vector<Buffer>& data) {
    const std::uint64_t at = kHeaders + 0x100 * requests_++;
    struct {
      std::uint32_t type, reserved;
      std::uint64_t sector;
    } header{type, 0, sector};
    EXPECT_TRUE(rig_.memory->write(GuestPhysicalAddress{at}, std::as_bytes(std::span{&header, 1})));
    const std::byte unanswered{kUnanswered};
    EXPECT_TRUE(rig_.memory->write(GuestPhysicalAddress{at + 0x20}, {&unanswered, 1}));
    std::vector<Buffer> chain{{at, 16}};
    chain.insert(chain.end(), data.begin(), data.end());
    chain.push_back({at + 0x20, 1, true});
    return {ring_.add_indirect(chain, at + 0x40), at + 0x20};
  }
  Request read(std::uint64_t sector, std::uint64_t to, std::uint32_t bytes) { return add(VIRTIO_BLK_T_IN, sector, {{to, bytes, true}}); }
  Request write(std::uint64_t sector, std::uint64_t from, std::uint32_t bytes) { return add(VIRTIO_BLK_T_OUT, sector, {{from, bytes}}); }
  // Ranges of a discard or write-zeroes request, in one buffer.
  Request zero(std::uint32_t type, const std::vector<virtio_blk_discard_write_zeroes>& ranges) {
    const auto bytes = std::as_bytes(std::span{ranges});
    put(kData, {bytes.begin(), bytes.end()});
    return add(type, 0, {{kData, static_cast<std::uint32_t>(bytes.size())}});
  }
  void kick() {
    driver_->notify(0);
    rig_.settle();
  }
  std::uint8_t status(const Request& request) {
    std::byte value{};
    EXPECT_TRUE(rig_.memory->read(GuestPhysicalAddress{request.status}, {&value, 1}));
    return static_cast<std::uint8_t>(value);
  }
  void put(std::uint64_t at, const std::vector<std::byte>& bytes) { ASSERT_TRUE(rig_.memory->write(GuestPhysicalAddress{at}, bytes)); }
  std::vector<std::byte> get(std::uint64_t at, std::size_t length) {
    const auto bytes = *rig_.memory->at(GuestPhysicalAddress{at}, length);
    return {bytes.begin(), bytes.end()};
  }
  bool needs_reset() { return (driver_->status() & VIRTIO_CONFIG_S_NEEDS_RESET) != 0; }
  void quiesce() {
    rig_.on_loop([&] { ASSERT_TRUE(device_->quiesce()); });
  }
  // A twin over the same memory content, from the saved state.
  std::unique_ptr<Blk> twin_of(DeviceRig& rig, std::shared_ptr<FakeBlockBackend> backend, capnp::MessageBuilder& message) {
    quiesce();
    auto saved = message.initRoot<schema::DeviceState>();
    device_->save(saved);
    std::ranges::copy(rig_.memory->file(), rig.memory->file().begin());
    auto twin = make(rig, std::move(backend));
    EXPECT_TRUE(twin->check(saved.asReader()));
    EXPECT_TRUE(twin->restore(saved.asReader()));
    return twin;
  }

  DeviceRig rig_;
  std::shared_ptr<FakeBlockBackend> backend_;
  std::unique_ptr<Blk> device_;
  std::optional<VirtioDriver> driver_;
  DriverRing ring_{*rig_.memory, kRing, kSize};
  unsigned requests_ = 0;
};

}  // namespace understudy::blk_test
