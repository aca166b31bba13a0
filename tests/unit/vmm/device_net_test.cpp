// virtio-net's two data queues: frames, back-pressure, buffers, and what is refused.
#include <gtest/gtest.h>

#include "tests/unit/vmm/net_fixture.h"

namespace understudy {
namespace {

TEST_F(NetTest, TellsItsIdentity) {
  EXPECT_EQ(driver_->read(VIRTIO_MMIO_DEVICE_ID), 1u);
  std::array<std::byte, 6> mac;
  net_->read(VirtioMmio::kConfigOffset, mac);
  EXPECT_TRUE(std::ranges::equal(std::as_bytes(std::span{kMac.octets}), mac));
  EXPECT_EQ(driver_->offered() & (kNetFeatures | kMergeable), kNetFeatures | kMergeable);
}

TEST_F(NetTest, TransmitsFramesWithoutTheirHeader) {
  start();
  const auto frame = pattern(60, 1);
  const auto head = send(frame);
  kick(1);
  EXPECT_EQ(backend_->sent(), (std::vector<std::vector<std::byte>>{frame}));
  EXPECT_EQ(rings_[1].take_all_used(), (std::vector<Used>{{head, 0}}));
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
  rings_[1].add_indirect({{at, 5}, {at + 5, 0}, {at + 5, 20}, {at + 25, 87}}, kData + 0x5000);
  kick(1);
  EXPECT_EQ(backend_->sent(), (std::vector<std::vector<std::byte>>{frame}));
}

TEST_F(NetTest, RefusesWhatItDidNotOfferAndCountsIt) {
  start();
  send(pattern(60, 1), {.flags = FrameOffload::kNeedsChecksum, .checksum_start = 34, .checksum_offset = 6});
  send(pattern(60, 1), {.segmentation = FrameOffload::kTcpIpv4, .segment_bytes = 20});
  send(pattern(13, 1));
  rings_[1].add({{kData, 3}});
  kick(1);
  EXPECT_TRUE(backend_->sent().empty());
  EXPECT_EQ(net_->refused_transmits(), 4u);
  EXPECT_EQ(rings_[1].take_all_used().size(), 4u) << "the driver has its buffers back";
}

TEST_F(NetTest, BackPressureLeavesFramesInTheRingInOrder) {
  start();
  backend_->set_room(1);
  rig_.settle();
  for (unsigned i = 0; i < 4; ++i) send(pattern(60, i));
  kick(1);
  EXPECT_EQ(backend_->sent().size(), 1u);
  EXPECT_EQ(rings_[1].take_all_used().size(), 1u);
  const auto calls = backend_->transmit_calls();
  kick(1);
  EXPECT_EQ(backend_->transmit_calls(), calls) << "it waits for room, not for kicks";
  backend_->set_room(-1);
  rig_.settle();
  ASSERT_EQ(backend_->sent().size(), 4u);
  for (unsigned i = 0; i < 4; ++i) EXPECT_EQ(backend_->sent()[i], pattern(60, i));
  EXPECT_EQ(rings_[1].take_all_used().size(), 3u);
}

TEST_F(NetTest, ReceivesIntoABufferWithItsHeader) {
  start();
  const auto at = offer(2048);
  kick(0);
  rig_.written();
  arrive(300, 5);
  EXPECT_EQ(rings_[0].take_all_used(), (std::vector<Used>{{0, 312}}));
  EXPECT_EQ(header_at(at).buffer_count, 1);
  EXPECT_EQ(header_at(at).offload, FrameOffload{});
  EXPECT_EQ(guest_bytes(at + 12, 300), pattern(300, 5));
  const auto written = rig_.written();
  EXPECT_TRUE(written.contains(PageIndex{at >> kPageShift}));
  EXPECT_TRUE(written.contains(PageIndex{rings_[0].used() >> kPageShift}));
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
  EXPECT_EQ(rings_[0].available_event(), 1) << "the device asked to be told of the next buffer";
  const auto second = offer(100);
  kick(0);
  EXPECT_EQ(backend_->waiting(), 0u);
  EXPECT_EQ(guest_bytes(second + 12, 60), pattern(60, 1));
}

TEST_F(NetTest, MergesBuffersForALargeFrame) {
  start(kNetFeatures | kMergeable);
  const auto first = offer(100);
  const auto second = offer(100);
  const auto third = offer(200);
  kick(0);
  arrive(250, 9);
  EXPECT_EQ(rings_[0].take_all_used(), (std::vector<Used>{{0, 100}, {1, 100}, {2, 62}}));
  EXPECT_EQ(header_at(first).buffer_count, 3);
  auto got = guest_bytes(first + 12, 88);
  for (const auto& part : {guest_bytes(second, 100), guest_bytes(third, 62)}) got.insert(got.end(), part.begin(), part.end());
  EXPECT_EQ(got, pattern(250, 9));
}

TEST_F(NetTest, LargeFrameWaitsForEnoughBuffers) {
  start(kNetFeatures | kMergeable);
  offer(100);
  kick(0);
  arrive(150, 3);
  EXPECT_TRUE(rings_[0].take_all_used().empty());
  EXPECT_EQ(rings_[0].available_event(), 1);
  // Stopped and started in between, it is still there.
  rig_.on_loop([&] { ASSERT_TRUE(net_->quiesce()); });
  rig_.on_loop([&] { net_->resume(); });
  offer(100);
  kick(0);
  EXPECT_EQ(rings_[0].take_all_used(), (std::vector<Used>{{0, 100}, {1, 62}}));
  EXPECT_EQ(net_->refused_receives(), 0u);
}

TEST_F(NetTest, FrameThatFitsNoBufferIsCountedAndTheNextOneComes) {
  start();
  const auto at = offer(100);
  kick(0);
  arrive(200, 1);
  EXPECT_EQ(net_->refused_receives(), 1u);
  arrive(80, 2);
  EXPECT_EQ(rings_[0].take_all_used(), (std::vector<Used>{{0, 92}}));
  EXPECT_EQ(guest_bytes(at + 12, 80), pattern(80, 2));
}

TEST_F(NetTest, FloodDoesNotKeepTheLoop) {
  start();
  for (unsigned i = 0; i < 2000; ++i) backend_->arrive(pattern(60, i));
  unsigned got = 0;
  while (got < 2000 && !HasFailure()) {
    for (unsigned i = 0; i < kSize; ++i) rings_[0].add({{kData, 2000, true}});
    kick(0);
    const auto used = rings_[0].take_all_used().size();
    ASSERT_GT(used, 0u);
    got += static_cast<unsigned>(used);
  }
  EXPECT_EQ(backend_->waiting(), 0u);
}

TEST_F(NetTest, ABackendThatIsGoneIsLeftAlone) {
  start();
  offer(100);
  kick(0);
  backend_->vanish();
  rig_.settle();
  const auto calls = backend_->receive_calls();
  for (int i = 0; i < 20; ++i) rig_.settle();
  EXPECT_EQ(backend_->receive_calls(), calls) << "its descriptor is readable for ever";
  send(pattern(60, 1));
  kick(1);
  EXPECT_EQ(backend_->sent().size(), 1u) << "what becomes of it is the backend's matter";
}

TEST_F(NetTest, NothingMovesWhileQuiesced) {
  start();
  offer(100);
  rig_.on_loop([&] { ASSERT_TRUE(net_->quiesce()); });
  rig_.written();
  backend_->arrive(pattern(60, 1));
  send(pattern(60, 2));
  const auto used_before = rings_[0].used_index();
  kick(1);
  kick(0);
  EXPECT_EQ(backend_->waiting(), 1u);
  EXPECT_TRUE(backend_->sent().empty());
  EXPECT_EQ(rings_[0].used_index(), used_before);
  rig_.on_loop([&] { net_->resume(); });
  rig_.settle();
  EXPECT_EQ(backend_->waiting(), 0u);
  EXPECT_EQ(backend_->sent().size(), 1u) << "the kick between was not lost";
}

TEST_F(NetTest, BrokenRingStopsItUntilAReset) {
  start();
  rings_[1].offer(kSize + 1);
  kick(1);
  EXPECT_NE(driver_->status() & VIRTIO_CONFIG_S_NEEDS_RESET, 0u);
  EXPECT_TRUE(interrupted());
  EXPECT_NE(driver_->take_interrupt_status() & VIRTIO_MMIO_INT_CONFIG, 0u);
  offer(100);
  kick(0);
  arrive(60, 1);
  EXPECT_EQ(backend_->waiting(), 1u);
  start_again(kNetFeatures);
  const auto at = offer(100);
  kick(0);
  EXPECT_EQ(guest_bytes(at + 12, 60), pattern(60, 1));
  send(pattern(60, 7));
  kick(1);
  EXPECT_EQ(backend_->sent().size(), 1u);
}

TEST_F(NetTest, RefusesBadConfiguration) {
  const auto slot = [&] { return VirtioSlot{"net0", GuestPhysicalAddress{0xD000'0000}, rig_.memory, &rig_.loop()}; };
  EXPECT_FALSE(Net::create(slot(), kMac, nullptr, 1));
  EXPECT_FALSE(Net::create(slot(), MacAddress{{1, 0, 0, 0, 0, 1}}, backend_, 1));
  EXPECT_FALSE(Net::create(slot(), MacAddress{}, backend_, 1));
  EXPECT_FALSE(Net::create(slot(), kMac, backend_, 0));
  EXPECT_FALSE(Net::create(slot(), kMac, backend_, Net::kMaxQueuePairs + 1));
}

}  // namespace
}  // namespace understudy
