// A virtio-net device with a driver of the test's own, for all its tests.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include <capnp/message.h>
#include <gtest/gtest.h>

#include "tests/unit/vmm/device_rig.h"
#include "tests/unit/vmm/virtio_driver.h"
#include "vmm/devices/net/net.h"
#include "vmm/devices/net/wire.h"

namespace understudy {

constexpr std::uint64_t feature(unsigned bit) { return std::uint64_t{1} << bit; }
inline constexpr std::uint64_t kMergeable = feature(net_wire::kFeatureMergeableBuffers);
inline constexpr std::uint64_t kNetFeatures = VirtioDriver::kUsual | feature(net_wire::kFeatureMac);
inline constexpr std::uint64_t kControl = feature(net_wire::kFeatureControlQueue) | feature(net_wire::kFeatureStatus);
inline constexpr std::uint64_t kHostOffloads = feature(net_wire::kFeatureChecksum) | feature(net_wire::kFeatureHostTso4) |
                                               feature(net_wire::kFeatureHostTso6) | feature(net_wire::kFeatureHostEcn);
inline constexpr std::uint64_t kGuestOffloads = feature(net_wire::kFeatureGuestChecksum) | feature(net_wire::kFeatureGuestTso4) |
                                                feature(net_wire::kFeatureGuestTso6) | feature(net_wire::kFeatureGuestEcn);
class NetTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kRings = 0x10000;
  static constexpr std::uint64_t kData = 0x100000;
  static constexpr std::uint16_t kSize = 16;

  explicit NetTest(unsigned queue_pairs = 1) : queue_pairs_{queue_pairs} {
    for (unsigned i = 0; i < 2 * queue_pairs + 1; ++i) rings_.emplace_back(*rig_.memory, kRings + i * DriverRing::kBytes, kSize);
    net_ = make();
    driver_.emplace(*net_);
    rig_.on_loop([&] { net_->resume(); });
  }
  ~NetTest() override {
    rig_.on_loop([&] { net_->detach(); });
  }
  std::unique_ptr<Net> make() {
    auto made = Net::create({"net0", GuestPhysicalAddress{0xD000'0000}, rig_.memory, &rig_.loop()}, kMac, backend_, queue_pairs_);
    EXPECT_TRUE(made);
    return std::move(*made);
  }
  void start(std::uint64_t features = kNetFeatures) {
    ASSERT_TRUE(driver_->negotiate(features));
    for (unsigned i = 0; i < rings_.size(); ++i) driver_->set_queue(i, rings_[i]);
    driver_->driver_ok();
    rig_.settle();
  }
  // The driver starts over, with empty rings.
  void start_again(std::uint64_t features) {
    for (unsigned i = 0; i < rings_.size(); ++i) rings_[i] = DriverRing{*rig_.memory, kRings + i * DriverRing::kBytes, kSize};
    start(features);
  }
  // Writes header and frame, makes one chain of it.
  std::uint16_t send(const std::vector<std::byte>& frame, const FrameOffload& offload = {}, unsigned queue = 1) {
    const net_wire::Header header{.offload = offload};
    const std::uint64_t at = next_data_;
    next_data_ += 0x2000 + (frame.size() & ~std::size_t{0xfff});
    EXPECT_TRUE(rig_.memory->write(GuestPhysicalAddress{at}, std::as_bytes(std::span{&header, 1})));
    EXPECT_TRUE(rig_.memory->write(GuestPhysicalAddress{at + 0x100}, frame));
    return rings_[queue].add({{at, sizeof header}, {at + 0x100, static_cast<std::uint32_t>(frame.size())}});
  }
  void kick(unsigned queue) {
    driver_->notify(queue);
    rig_.settle();
  }
  std::uint64_t offer(std::uint32_t bytes, unsigned queue = 0) {
    const std::uint64_t at = next_data_;
    next_data_ += 0x1000 + (bytes & ~0xfffu);
    rings_[queue].add({{at, bytes, true}});
    return at;
  }
  void arrive(std::vector<std::byte> frame, const FrameOffload& offload = {}) {
    backend_->arrive(std::move(frame), offload);
    rig_.settle();
  }
  void arrive(std::size_t bytes, unsigned seed) { arrive(pattern(bytes, seed)); }
  std::vector<std::byte> guest_bytes(std::uint64_t at, std::size_t length) {
    const auto bytes = *rig_.memory->at(GuestPhysicalAddress{at}, length);
    return {bytes.begin(), bytes.end()};
  }
  net_wire::Header header_at(std::uint64_t at) {
    net_wire::Header header;
    EXPECT_TRUE(rig_.memory->read(GuestPhysicalAddress{at}, std::as_writable_bytes(std::span{&header, 1})));
    return header;
  }
  net_wire::Config config() {
    net_wire::Config config;
    net_->read(VirtioMmio::kConfigOffset, std::as_writable_bytes(std::span{&config, 1}));
    return config;
  }
  bool interrupted() { return drain_fd(net_->interrupt().fd()) > 0; }

  const unsigned queue_pairs_;
  DeviceRig rig_;
  std::shared_ptr<FakeNetBackend> backend_ = std::make_shared<FakeNetBackend>();
  std::unique_ptr<Net> net_;
  std::optional<VirtioDriver> driver_;
  std::vector<DriverRing> rings_;
  std::uint64_t next_data_ = kData;
};

}  // namespace understudy
