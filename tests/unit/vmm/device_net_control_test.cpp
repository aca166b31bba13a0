// virtio-net's control queue, its queue pairs, and the announcement that a new host asks its guest for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/vmm/net_fixture.h"

namespace understudy {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t kAnnounce = kControl | feature(net_wire::kFeatureGuestAnnounce);
constexpr std::uint64_t kMultiQueue = kControl | feature(net_wire::kFeatureMultiQueue);

template <class... Bytes>
std::vector<std::byte> request(Bytes... bytes) {
  return {static_cast<std::byte>(bytes)...};
}

class NetControlTest : public NetTest {
 protected:
  explicit NetControlTest(unsigned queue_pairs = 1) : NetTest{queue_pairs} {}
  // The device's answer to a request, given in two pieces.
  unsigned ask(const std::vector<std::byte>& bytes, unsigned control_queue = 2) {
    const std::uint64_t at = next_data_;
    next_data_ += 0x1000;
    EXPECT_TRUE(rig_.memory->write(GuestPhysicalAddress{at}, bytes));
    EXPECT_TRUE(rig_.memory->write(GuestPhysicalAddress{at + 0x800}, request(0xEE)));
    const std::uint32_t cut = bytes.empty() ? 0 : 1;
    rings_[control_queue].add({{at, cut}, {at + cut, static_cast<std::uint32_t>(bytes.size()) - cut}, {at + 0x800, 1, true}});
    kick(control_queue);
    const auto used = rings_[control_queue].take_all_used();
    EXPECT_EQ(used.size(), 1u);
    EXPECT_TRUE(used.empty() || used[0].length == 1);
    return std::to_integer<unsigned>(guest_bytes(at + 0x800, 1)[0]);
  }
  std::unique_ptr<Net> twin() {
    rig_.on_loop([&] { ASSERT_TRUE(net_->quiesce()); });
    message_.emplace();
    net_->save(message_->initRoot<schema::DeviceState>());
    auto twin = make();
    const auto restored = twin->restore(message_->getRoot<schema::DeviceState>().asReader());
    EXPECT_TRUE(restored) << restored.error().text();
    rig_.on_loop([&] { net_->detach(); });
    return twin;
  }
  // The guest goes on with its twin.
  void take_over() {
    net_ = twin();
    driver_->move_to(*net_);
    rig_.on_loop([&] { net_->resume(); });
  }
  std::optional<capnp::MallocMessageBuilder> message_;
};

TEST_F(NetControlTest, AnswersWhatItDoesNotKnowWithAnError) {
  start(kNetFeatures | kAnnounce);
  const std::vector<std::byte> refused[] = {
      {},
      request(3),
      request(3, 1),     // no such command
      request(3, 0, 0),  // an acknowledgement has no data
      request(0, 0, 1),  // reception modes, MAC filters and VLANs are not offered
      request(1, 1, 2, 0, 0, 0, 0, 9),
      request(2, 0, 1, 0),
      request(4, 0, 1, 0),  // not negotiated
      request(5, 0, 0, 0, 0, 0, 0, 0, 0, 0),
      request(0x77, 0),
      std::vector<std::byte>(300),
  };
  for (const auto& each : refused) EXPECT_EQ(ask(each), net_wire::kControlError) << each.size() << " bytes";
  EXPECT_TRUE(interrupted());
}

TEST_F(NetControlTest, ARequestWithoutRoomForItsAnswerBreaksTheRules) {
  start(kNetFeatures | kControl);
  rings_[2].add({{kData, 2}});
  kick(2);
  EXPECT_NE(driver_->status() & VIRTIO_CONFIG_S_NEEDS_RESET, 0u);
}

TEST_F(NetControlTest, WithoutAControlQueueTheRingIsLeftAlone) {
  start();
  rings_[2].add({{kData, 2}, {kData + 0x800, 1, true}});
  kick(2);
  EXPECT_TRUE(rings_[2].take_all_used().empty());
}

// ------------------------------------------------------------------------------------------------------------------ announcement

TEST_F(NetControlTest, OnANewHostTheGuestIsAskedToAnnounceItself) {
  start(kNetFeatures | kAnnounce);
  EXPECT_EQ(config().status, net_wire::kStatusLinkUp);
  const auto generation = driver_->read(VIRTIO_MMIO_CONFIG_GENERATION);
  driver_->take_interrupt_status();
  take_over();
  EXPECT_EQ(config().status, net_wire::kStatusLinkUp | net_wire::kStatusAnnounce);
  EXPECT_NE(driver_->read(VIRTIO_MMIO_CONFIG_GENERATION), generation);
  EXPECT_TRUE(interrupted());
  EXPECT_NE(driver_->take_interrupt_status() & VIRTIO_MMIO_INT_CONFIG, 0u);
  EXPECT_EQ(ask(request(3, 0)), net_wire::kControlOk);
  EXPECT_EQ(config().status, net_wire::kStatusLinkUp);
  // A pause for a checkpoint is no new host.
  rig_.on_loop([&] { ASSERT_TRUE(net_->quiesce()); });
  rig_.on_loop([&] { net_->resume(); });
  EXPECT_EQ(config().status, net_wire::kStatusLinkUp);
}

TEST_F(NetControlTest, WhatWasNotAcknowledgedIsAskedAgainAfterTheNextTakeover) {
  start(kNetFeatures | kAnnounce);
  take_over();
  take_over();
  EXPECT_EQ(config().status, net_wire::kStatusLinkUp | net_wire::kStatusAnnounce);
  driver_->write(VIRTIO_MMIO_STATUS, 0);
  rig_.settle();
  EXPECT_EQ(config().status, net_wire::kStatusLinkUp) << "a reset forgets it";
}

TEST_F(NetControlTest, AGuestThatDidNotAgreeIsNotAsked) {
  start(kNetFeatures | kControl);
  driver_->take_interrupt_status();
  take_over();
  EXPECT_EQ(config().status, net_wire::kStatusLinkUp);
  EXPECT_EQ(driver_->take_interrupt_status() & VIRTIO_MMIO_INT_CONFIG, 0u);
}

// -------------------------------------------------------------------------------------------------------------- receive offloads

TEST_F(NetControlTest, TurnsReceiveOffloadsOffAndOn) {
  start(kNetFeatures | kControl | kGuestOffloads | feature(net_wire::kFeatureControlGuestOffloads));
  const auto set = [&](std::uint64_t offloads) {
    std::vector<std::byte> bytes = request(5, 0);
    for (unsigned i = 0; i < 8; ++i) bytes.push_back(static_cast<std::byte>(offloads >> (8 * i) & 0xff));
    return ask(bytes);
  };
  EXPECT_EQ(set(feature(net_wire::kFeatureGuestChecksum)), net_wire::kControlOk);
  EXPECT_EQ(backend_->receive_offloads().back(), (Offloads{.checksum = true}));
  EXPECT_EQ(set(feature(net_wire::kFeatureHostTso4)), net_wire::kControlError);
  EXPECT_EQ(backend_->receive_offloads().back(), (Offloads{.checksum = true})) << "a refused request changes nothing";
  backend_ = std::make_shared<FakeNetBackend>();
  take_over();
  EXPECT_EQ(backend_->receive_offloads().back(), (Offloads{.checksum = true})) << "the new host's tap is told";
  EXPECT_EQ(set(kGuestOffloads), net_wire::kControlOk);
  EXPECT_TRUE(backend_->receive_offloads().back().tcp_ipv4);
}

// ------------------------------------------------------------------------------------------------------------------- queue pairs

class NetPairsTest : public NetControlTest {
 protected:
  static constexpr unsigned kPairs = 3;
  static constexpr unsigned kControlQueue = 2 * kPairs;
  NetPairsTest() : NetControlTest{kPairs} {}
  unsigned set_pairs(unsigned pairs) { return ask(request(4, 0, pairs & 0xff, pairs >> 8), kControlQueue); }
  // A UDP frame of the flow with this port; the reply's when `back`.
  static std::vector<std::byte> flow_frame(std::uint8_t port, bool back) {
    std::vector<std::byte> frame(60);
    const auto put = [&](std::size_t at, std::initializer_list<int> bytes) {
      for (const int byte : bytes) frame[at++] = static_cast<std::byte>(byte);
    };
    put(12, {8, 0, 0x45});
    put(23, {17});
    put(26, {10, 0, 0, back ? 2 : 1, 10, 0, 0, back ? 1 : 2});
    put(34, {0, back ? 80 : port, 0, back ? port : 80});
    return frame;
  }
  std::size_t used_on(unsigned pair) { return rings_[Net::receive_queue(pair)].take_all_used().size(); }
  void offer_everywhere(unsigned buffers) {
    for (unsigned pair = 0; pair < kPairs; ++pair) {
      for (unsigned i = 0; i < buffers; ++i) offer(200, Net::receive_queue(pair));
      kick(Net::receive_queue(pair));
    }
  }
};

TEST_F(NetPairsTest, OffersThemAndTellsHowMany) {
  EXPECT_NE(driver_->offered() & feature(net_wire::kFeatureMultiQueue), 0u);
  EXPECT_EQ(config().max_queue_pairs, kPairs);
  EXPECT_EQ(net_->queue_count(), 2 * kPairs + 1);
  EXPECT_EQ(net_->geometry(), ":3-queue-pairs");
}

TEST_F(NetPairsTest, OnlyTheFirstPairReceivesUntilTheDriverAsksForMore) {
  start(kNetFeatures | kMultiQueue);
  offer_everywhere(4);
  for (std::uint8_t port = 1; port <= 3; ++port) arrive(flow_frame(port, true));
  EXPECT_EQ(used_on(0), 3u);
  for (const unsigned wrong : {0u, kPairs + 1, 0xffffu}) EXPECT_EQ(set_pairs(wrong), net_wire::kControlError);
  EXPECT_EQ(set_pairs(kPairs), net_wire::kControlOk);
  for (std::uint8_t port = 1; port <= 4; ++port) arrive(flow_frame(port, true));
  EXPECT_EQ(used_on(0) + used_on(1) + used_on(2), 4u);
}

TEST_F(NetPairsTest, AFlowIsReceivedWhereItLastSent) {
  start(kNetFeatures | kMultiQueue);
  ASSERT_EQ(set_pairs(kPairs), net_wire::kControlOk);
  offer_everywhere(kSize);
  for (const unsigned pair : {0u, 1u, 2u, 1u}) {
    for (const std::uint8_t port : {std::uint8_t{7}, std::uint8_t{9}}) {
      send(flow_frame(port, false), {}, Net::transmit_queue(pair));
      kick(Net::transmit_queue(pair));
      arrive(flow_frame(port, true));
    }
    EXPECT_EQ(used_on(pair), 2u) << "pair " << pair;
    EXPECT_EQ(rings_[Net::transmit_queue(pair)].take_all_used().size(), 2u);
  }
  EXPECT_EQ(backend_->sent().size(), 8u);
}

TEST_F(NetPairsTest, APairWithoutBuffersHoldsUpNobody) {
  start(kNetFeatures | kMultiQueue);
  ASSERT_EQ(set_pairs(kPairs), net_wire::kControlOk);
  send(flow_frame(7, false), {}, Net::transmit_queue(2));
  kick(Net::transmit_queue(2));
  arrive(flow_frame(7, true));
  EXPECT_EQ(backend_->waiting(), 1u) << "nobody has buffers";
  offer(200, Net::receive_queue(1));
  kick(Net::receive_queue(1));
  EXPECT_EQ(used_on(1), 1u);
  EXPECT_EQ(backend_->waiting(), 0u);
}

TEST_F(NetPairsTest, RoomIsSharedByAllPairs) {
  start(kNetFeatures | kMultiQueue);
  backend_->set_room(0);
  for (unsigned pair = 0; pair < kPairs; ++pair) {
    for (std::uint8_t i = 0; i < 4; ++i) send(flow_frame(i, false), {}, Net::transmit_queue(pair));
    kick(Net::transmit_queue(pair));
  }
  // Room for a ring's worth at a time: every pair gets its turn.
  for (unsigned round = 0; round < kPairs; ++round) {
    backend_->set_room(4);
    rig_.settle();
  }
  for (unsigned pair = 0; pair < kPairs; ++pair) EXPECT_EQ(rings_[Net::transmit_queue(pair)].take_all_used().size(), 4u);
}

TEST_F(NetPairsTest, WithoutMultiQueueTheControlQueueIsTheThird) {
  start(kNetFeatures | kAnnounce);
  EXPECT_EQ(ask(request(3, 0), 2), net_wire::kControlOk);
  EXPECT_EQ(ask(request(4, 0, 1, 0), 2), net_wire::kControlError);
  send(flow_frame(1, false), {}, Net::transmit_queue(1));
  kick(Net::transmit_queue(1));
  EXPECT_TRUE(backend_->sent().empty()) << "it has one pair";
}

TEST_F(NetPairsTest, ATwinGoesOnWithThePairsInUse) {
  start(kNetFeatures | kMultiQueue);
  ASSERT_EQ(set_pairs(2), net_wire::kControlOk);
  take_over();
  send(flow_frame(5, false), {}, Net::transmit_queue(1));
  kick(Net::transmit_queue(1));
  offer_everywhere(2);
  arrive(flow_frame(5, true));
  EXPECT_EQ(used_on(1), 1u);
  driver_->write(VIRTIO_MMIO_STATUS, 0);
  start_again(kNetFeatures | kMultiQueue);
  offer_everywhere(2);
  arrive(flow_frame(5, true));
  EXPECT_EQ(used_on(0), 1u) << "a reset leaves one pair";
}

TEST_F(NetPairsTest, AStateOfAnotherShapeIsRefused) {
  start(kNetFeatures | kMultiQueue);
  ASSERT_EQ(set_pairs(kPairs), net_wire::kControlOk);
  rig_.on_loop([&] { ASSERT_TRUE(net_->quiesce()); });
  capnp::MallocMessageBuilder message;
  net_->save(message.initRoot<schema::DeviceState>());
  const auto state = message.getRoot<schema::DeviceState>();
  auto narrow = Net::create({"net0", GuestPhysicalAddress{0xD000'0000}, rig_.memory, &rig_.loop()}, kMac, backend_, 1);
  ASSERT_TRUE(narrow);
  EXPECT_THAT((*narrow)->check(state.asReader()).error().text(), HasSubstr("3 queue pairs, this device has 1"));
  auto without = Net::create({"net0", GuestPhysicalAddress{0xD000'0000}, rig_.memory, &rig_.loop()}, kMac,
                             std::make_shared<FakeNetBackend>(false), kPairs);
  ASSERT_TRUE(without);
  EXPECT_TRUE((*without)->check(state.asReader())) << "this driver took no offloads";
}

// ---------------------------------------------------------------------------------------------------------------------- steering

TEST(FlowSteering, BothDirectionsAreOneFlow) {
  const auto frame = [](std::initializer_list<int> bytes) {
    return [=] {
      std::vector<std::byte> out;
      for (const int byte : bytes) out.push_back(static_cast<std::byte>(byte));
      return out;
    }();
  };
  const auto tcp6 = [&](int from, int to, int port_from, int port_to, bool vlan) {
    std::vector<std::byte> out(12);
    const auto add = [&](const std::vector<std::byte>& more) { out.insert(out.end(), more.begin(), more.end()); };
    if (vlan) add(frame({0x81, 0, 0, 7}));
    add(frame({0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64}));
    add(std::vector<std::byte>(15));
    add(frame({from}));
    add(std::vector<std::byte>(15));
    add(frame({to}));
    add(frame({port_from, 1, port_to, 2}));
    return out;
  };
  for (const bool vlan : {false, true}) {
    EXPECT_EQ(FlowSteering::flow_of(tcp6(1, 2, 3, 4, vlan)), FlowSteering::flow_of(tcp6(2, 1, 3, 4, vlan)));
    EXPECT_NE(FlowSteering::flow_of(tcp6(1, 2, 3, 4, vlan)), FlowSteering::flow_of(tcp6(1, 2, 3, 5, vlan)));
    EXPECT_NE(FlowSteering::flow_of(tcp6(1, 2, 3, 4, vlan)), FlowSteering::flow_of(tcp6(1, 9, 3, 4, vlan)));
  }
}

TEST(FlowSteering, WhatIsCutAnywhereStillHasAPair) {
  const auto whole = pattern(FlowSteering::kHeadBytes, 3);
  FlowSteering steering;
  for (std::size_t bytes = 0; bytes <= whole.size(); ++bytes) {
    const auto head = std::span{whole}.first(bytes);
    steering.sent(head, 6);
    EXPECT_EQ(steering.pair_for(head, 7), 6u);
    EXPECT_LT(steering.pair_for(head, 2), 2u) << "fewer pairs are in use since";
  }
}

}  // namespace
}  // namespace understudy
