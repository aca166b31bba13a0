#include <gtest/gtest.h>

#include "tests/unit/vmm/device_rig.h"
#include "tests/unit/vmm/virtio_driver.h"
#include "vmm/devices/net/net.h"
#include "vmm/devices/net/wire.h"

namespace understudy {
namespace {

constexpr std::uint64_t kMergeable = std::uint64_t{1} << net_wire::kFeatureMergeableBuffers;
constexpr std::uint64_t kFeatures =
    VirtioDriver::kVersion1 | VirtioDriver::kEventIndex | VirtioDriver::kIndirect | (std::uint64_t{1} << net_wire::kFeatureMac);
constexpr std::uint64_t kReceiveRing = 0x10000;
constexpr std::uint64_t kTransmitRing = 0x20000;
constexpr std::uint64_t kData = 0x100000;
constexpr std::uint16_t kSize = 16;
constexpr MacAddress kMac{{0x52, 0x54, 0, 0x12, 0x34, 0x56}};

class NetTest : public ::testing::Test {
 protected:
  NetTest() {
    auto made = Net::create({"net0", GuestPhysicalAddress{0xD000'0000}, rig_.memory, &rig_.loop()}, kMac, backend_);
    EXPECT_TRUE(made);
    net_ = std::move(*made);
    driver_.emplace(*net_);
    rig_.on_loop([&] { net_->resume(); });
  }
  ~NetTest() override {
    rig_.on_loop([&] { net_->detach(); });
  }
  void start(std::uint64_t features = kFeatures) {
    ASSERT_TRUE(driver_->negotiate(features));
    driver_->set_queue(0, receive_);
    driver_->set_queue(1, transmit_);
    driver_->driver_ok();
    rig_.settle();
  }
  // Writes header and frame, makes one chain of it.
  std::uint16_t send(const std::vector<std::byte>& frame, const net_wire::Header& header = {}) {
    const std::uint64_t at = next_data_;
    next_data_ += 0x1000;
    EXPECT_TRUE(rig_.memory->write(GuestPhysicalAddress{at}, std::as_bytes(std::span{&header, 1})));
    EXPECT_TRUE(rig_.memory->write(GuestPhysicalAddress{at + 0x100}, frame));
    return transmit_.add({{at, sizeof header}, {at + 0x100, static_cast<std::uint32_t>(frame.size())}});
  }
  void kick(unsigned queue) {
    driver_->notify(queue);
    rig_.settle();
  }
  std::uint64_t offer(std::uint32_t bytes) {
    const std::uint64_t at = next_data_;
    next_data_ += 0x1000;
    receive_.add({{at, bytes, true}});
    return at;
  }
  void arrive(std::size_t bytes, unsigned seed) {
    backend_->arrive(pattern(bytes, seed));
    rig_.settle();
  }
  std::vector<std::byte> guest_bytes(std::uint64_t at, std::size_t length) {
    const auto bytes = *rig_.memory->at(GuestPhysicalAddress{at}, length);
    return {bytes.begin(), bytes.end()};
  }
  net_wire::Header header_at(std::uint64_t at) {
    net_wire::Header header;
    EXPECT_TRUE(rig_.memory->read(GuestPhysicalAddress{at}, std::as_writable_bytes(std::span{&header, 1})));
    return header;
  }
  bool interrupted() { return drain_fd(net_->interrupt().fd()) > 0; }

  DeviceRig rig_;
  std::shared_ptr<FakeNetBackend> backend_ = std::make_shared<FakeNetBackend>();
  std::unique_ptr<Net> net_;
  std::optional<VirtioDriver> driver_;
  DriverRing receive_{*rig_.memory, kReceiveRing, kSize};
  DriverRing transmit_{*rig_.memory, kTransmitRing, kSize};
  std::uint64_t next_data_ = kData;
};

TEST_F(NetTest, TellsItsIdentity) {
  EXPECT_EQ(driver_->read(VIRTIO_MMIO_DEVICE_ID), 1u);
  std::array<std::byte, 6> mac;
  net_->read(VirtioMmio::kConfigOffset, mac);
  EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span{kMac.octets}), mac));
  EXPECT_EQ(driver_->offered() & (kFeatures | kMergeable), kFeatures | kMergeable);
}

TEST_F(NetTest, TransmitsFramesWithoutTheirHeader) {
  start();
  const auto frame = pattern(60, 1);
  const auto head = send(frame);
  kick(1);
  EXPECT_EQ(backend_->sent(), (std::vector<std::vector<std::byte>>{frame}));
  EXPECT_EQ(transmit_.take_all_used(), (std::vector<Used>{{head, 0}}));
  EXPECT_TRUE(interrupted());
  EXPECT_EQ(driver_->take_interrupt_status(), static_cast<std::uint32_t>(VIRTIO_MMIO_INT_VRING));
}

TEST_F(NetTest, TransmitsByEventfdToo) {
  start();
  send(pattern(60, 1));
  signal_fd(net_->notify_fd(1));
  rig_.settle();
  EXPECT_EQ(backend_->sent().size(), 1u);
}

TEST_F(NetTest, HeaderMayBeCutAnywhere) {
  start();
  const auto frame = pattern(100, 2);
  const std::uint64_t at = kData;
  ASSERT_TRUE(rig_.memory->write(GuestPhysicalAddress{at + 12}, frame));
  transmit_.add_indirect({{at, 5}, {at + 5, 0}, {at + 5, 20}, {at + 25, 87}}, kData + 0x5000);
  kick(1);
  EXPECT_EQ(backend_->sent(), (std::vector<std::vector<std::byte>>{frame}));
}

TEST_F(NetTest, RefusesWhatItDidNotOfferAndCountsIt) {
  start();
  send(pattern(60, 1), {.flags = net_wire::kFlagNeedsChecksum});
  send(pattern(60, 1), {.segmentation = 1});
  send(pattern(13, 1));
  transmit_.add({{kData, 3}});
  kick(1);
  EXPECT_TRUE(backend_->sent().empty());
  EXPECT_EQ(net_->refused_transmits(), 4u);
  EXPECT_EQ(transmit_.take_all_used().size(), 4u) << "the driver has its buffers back";
}

TEST_F(NetTest, BackPressureLeavesFramesInTheRingInOrder) {
  start();
  backend_->set_room(1);
  rig_.settle();
  for (unsigned i = 0; i < 4; ++i) send(pattern(60, i));
  kick(1);
  EXPECT_EQ(backend_->sent().size(), 1u);
  EXPECT_EQ(transmit_.take_all_used().size(), 1u);
  const auto calls = backend_->transmit_calls();
  kick(1);
  EXPECT_EQ(backend_->transmit_calls(), calls) << "it waits for room, not for kicks";
  backend_->set_room(-1);
  rig_.settle();
  ASSERT_EQ(backend_->sent().size(), 4u);
  for (unsigned i = 0; i < 4; ++i) EXPECT_EQ(backend_->sent()[i], pattern(60, i));
  EXPECT_EQ(transmit_.take_all_used().size(), 3u);
}

TEST_F(NetTest, ReceivesIntoABufferWithItsHeader) {
  start();
  const auto at = offer(2048);
  kick(0);
  rig_.written();
  arrive(300, 5);
  EXPECT_EQ(receive_.take_all_used(), (std::vector<Used>{{0, 312}}));
  EXPECT_EQ(header_at(at).buffer_count, 1);
  EXPECT_EQ(header_at(at).flags, 0);
  EXPECT_EQ(guest_bytes(at + 12, 300), pattern(300, 5));
  const auto written = rig_.written();
  EXPECT_TRUE(written.contains(PageIndex{at >> kPageShift}));
  EXPECT_TRUE(written.contains(PageIndex{receive_.used() >> kPageShift}));
  EXPECT_TRUE(interrupted());
}

TEST_F(NetTest, FramesWaitInTheBackendUntilTheGuestHasBuffers) {
  backend_->arrive(pattern(60, 0));
  rig_.settle();
  EXPECT_EQ(backend_->waiting(), 1u) << "no driver yet";
  start();
  arrive(60, 1);
  EXPECT_EQ(backend_->waiting(), 2u) << "no buffers yet";
  const auto first = offer(100);
  kick(0);
  EXPECT_EQ(backend_->waiting(), 1u);
  EXPECT_EQ(guest_bytes(first + 12, 60), pattern(60, 0));
  EXPECT_EQ(receive_.available_event(), 1) << "the device asked to be told of the next buffer";
  const auto second = offer(100);
  kick(0);
  EXPECT_EQ(backend_->waiting(), 0u);
  EXPECT_EQ(guest_bytes(second + 12, 60), pattern(60, 1));
}

TEST_F(NetTest, MergesBuffersForALargeFrame) {
  start(kFeatures | kMergeable);
  const auto first = offer(100);
  const auto second = offer(100);
  const auto third = offer(200);
  kick(0);
  arrive(250, 9);
  EXPECT_EQ(receive_.take_all_used(), (std::vector<Used>{{0, 100}, {1, 100}, {2, 62}}));
  EXPECT_EQ(header_at(first).buffer_count, 3);
  auto got = guest_bytes(first + 12, 88);
  for (const auto& part : {guest_bytes(second, 100), guest_bytes(third, 62)}) got.insert(got.end(), part.begin(), part.end());
  EXPECT_EQ(got, pattern(250, 9));
}

TEST_F(NetTest, LargeFrameWaitsForEnoughBuffers) {
  start(kFeatures | kMergeable);
  offer(100);
  kick(0);
  arrive(150, 3);
  EXPECT_TRUE(receive_.take_all_used().empty());
  EXPECT_EQ(receive_.available_event(), 1);
  // Stopped and started in between, it is still there.
  rig_.on_loop([&] { ASSERT_TRUE(net_->quiesce()); });
  rig_.on_loop([&] { net_->resume(); });
  offer(100);
  kick(0);
  EXPECT_EQ(receive_.take_all_used(), (std::vector<Used>{{0, 100}, {1, 62}}));
  EXPECT_EQ(net_->refused_receives(), 0u);
}

TEST_F(NetTest, FrameThatFitsNoBufferIsCountedAndTheNextOneComes) {
  start();
  const auto at = offer(100);
  kick(0);
  arrive(200, 1);
  EXPECT_EQ(net_->refused_receives(), 1u);
  arrive(80, 2);
  EXPECT_EQ(receive_.take_all_used(), (std::vector<Used>{{0, 92}}));
  EXPECT_EQ(guest_bytes(at + 12, 80), pattern(80, 2));
}

TEST_F(NetTest, FloodDoesNotKeepTheLoop) {
  start();
  for (unsigned i = 0; i < 2000; ++i) backend_->arrive(pattern(60, i));
  unsigned got = 0;
  while (got < 2000 && !HasFailure()) {
    for (unsigned i = 0; i < kSize; ++i) receive_.add({{kData, 2000, true}});
    kick(0);
    const auto used = receive_.take_all_used().size();
    ASSERT_GT(used, 0u);
    got += static_cast<unsigned>(used);
  }
  EXPECT_EQ(backend_->waiting(), 0u);
}

TEST_F(NetTest, NothingMovesWhileQuiesced) {
  start();
  offer(100);
  rig_.on_loop([&] { ASSERT_TRUE(net_->quiesce()); });
  rig_.written();
  backend_->arrive(pattern(60, 1));
  send(pattern(60, 2));
  const auto used_before = receive_.used_index();
  kick(1);
  kick(0);
  EXPECT_EQ(backend_->waiting(), 1u);
  EXPECT_TRUE(backend_->sent().empty());
  EXPECT_EQ(receive_.used_index(), used_before);
  rig_.on_loop([&] { net_->resume(); });
  rig_.settle();
  EXPECT_EQ(backend_->waiting(), 0u);
  EXPECT_EQ(backend_->sent().size(), 1u) << "the kick between was not lost";
}

TEST_F(NetTest, BrokenRingStopsItUntilAReset) {
  start();
  transmit_.offer(kSize + 1);
  kick(1);
  EXPECT_NE(driver_->status() & VIRTIO_CONFIG_S_NEEDS_RESET, 0u);
  EXPECT_TRUE(interrupted());
  EXPECT_NE(driver_->take_interrupt_status() & VIRTIO_MMIO_INT_CONFIG, 0u);
  offer(100);
  kick(0);
  arrive(60, 1);
  EXPECT_EQ(backend_->waiting(), 1u);
  receive_ = DriverRing{*rig_.memory, kReceiveRing, kSize};
  transmit_ = DriverRing{*rig_.memory, kTransmitRing, kSize};
  start();
  const auto at = offer(100);
  kick(0);
  EXPECT_EQ(guest_bytes(at + 12, 60), pattern(60, 1));
  send(pattern(60, 7));
  kick(1);
  EXPECT_EQ(backend_->sent().size(), 1u);
}

TEST_F(NetTest, RefusesBadConfiguration) {
  const auto slot = [&] { return VirtioSlot{"net0", GuestPhysicalAddress{0xD000'0000}, rig_.memory, &rig_.loop()}; };
  EXPECT_FALSE(Net::create(slot(), kMac, nullptr));
  EXPECT_FALSE(Net::create(slot(), MacAddress{{1, 0, 0, 0, 0, 1}}, backend_));
  EXPECT_FALSE(Net::create(slot(), MacAddress{}, backend_));
}

}  // namespace
}  // namespace understudy
