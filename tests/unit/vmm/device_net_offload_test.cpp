// Offloads: what is offered, what a header may say in either direction, and what the backend is told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/vmm/net_fixture.h"
#include "vmm/devices/net/offload.h"

namespace understudy {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr Offloads kAll{.checksum = true, .tcp_ipv4 = true, .tcp_ipv6 = true, .ecn = true};
constexpr FrameOffload kUdpChecksum{.flags = FrameOffload::kNeedsChecksum, .checksum_start = 34, .checksum_offset = 6};
constexpr FrameOffload kTcp{.flags = FrameOffload::kNeedsChecksum,
                            .segmentation = FrameOffload::kTcpIpv4,
                            .header_bytes = 54,
                            .segment_bytes = 1448,
                            .checksum_start = 34,
                            .checksum_offset = 16};

FrameOffload with(FrameOffload offload, auto change) {
  change(offload);
  return offload;
}

TEST(NetOffload, FeaturesCountOnlyWithWhatTheyNeed) {
  EXPECT_EQ(host_offloads(kHostOffloads), kAll);
  EXPECT_EQ(guest_offloads(kGuestOffloads), kAll);
  EXPECT_EQ(host_offloads(kGuestOffloads), Offloads{});
  EXPECT_EQ(guest_offloads(kHostOffloads), Offloads{});
  EXPECT_EQ(host_offloads(kHostOffloads & ~feature(net_wire::kFeatureChecksum)), Offloads{});
  EXPECT_EQ(guest_offloads(feature(net_wire::kFeatureGuestChecksum) | feature(net_wire::kFeatureGuestEcn)), (Offloads{.checksum = true}));
  EXPECT_EQ(guest_offloads(feature(net_wire::kFeatureGuestChecksum) | feature(net_wire::kFeatureGuestTso6)),
            (Offloads{.checksum = true, .tcp_ipv6 = true}));
}

// ------------------------------------------------------------------------------------------------------------- from the guest

struct FromGuest {
  const char* name;
  FrameOffload given;
  bool accepted;
  Offloads taken = kAll;
  std::size_t frame_bytes = 3000;
};

class NetOffloadFromGuest : public ::testing::TestWithParam<FromGuest> {};

TEST_P(NetOffloadFromGuest, IsCheckedBeforeItGoesToTheKernel) {
  const auto& given = GetParam();
  const auto got = offload_to_host(given.given, given.frame_bytes, given.taken);
  EXPECT_EQ(got.has_value(), given.accepted);
  if (got && given.accepted) {
    // Whatever comes out passes the same check unchanged: nothing else is hidden in it.
    EXPECT_EQ(offload_to_host(*got, given.frame_bytes, given.taken), got);
    EXPECT_LE(got->header_bytes, given.frame_bytes);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Table, NetOffloadFromGuest,
    ::testing::Values(
        FromGuest{"plain", {}, true, {}},
        FromGuest{"plain_with_noise", {.header_bytes = 9, .segment_bytes = 9, .checksum_start = 9, .checksum_offset = 9}, true, {}},
        FromGuest{"unknown_flags_are_ignored", {.flags = 0xfe}, true}, FromGuest{"checksum", kUdpChecksum, true},
        FromGuest{"checksum_not_agreed", kUdpChecksum, false, {}}, FromGuest{"checksum_at_the_end", kUdpChecksum, true, kAll, 42},
        FromGuest{"checksum_beyond_the_end", kUdpChecksum, false, kAll, 41},
        FromGuest{"checksum_starts_beyond", with(kUdpChecksum, [](auto& o) { o.checksum_start = 0xffff; }), false},
        FromGuest{"checksum_offset_beyond", with(kUdpChecksum, [](auto& o) { o.checksum_offset = 0xffff; }), false},
        FromGuest{"checksum_over_the_ethernet_header", with(kUdpChecksum, [](auto& o) { o.checksum_start = 13; }), false},
        FromGuest{"tcp", kTcp, true}, FromGuest{"tcp_ipv6", with(kTcp, [](auto& o) { o.segmentation = FrameOffload::kTcpIpv6; }), true},
        FromGuest{"tcp_with_ecn", with(kTcp, [](auto& o) { o.segmentation |= FrameOffload::kEcn; }), true},
        FromGuest{"tcp_not_agreed", kTcp, false, {.checksum = true, .tcp_ipv6 = true}},
        FromGuest{"ipv6_not_agreed",
                  with(kTcp, [](auto& o) { o.segmentation = FrameOffload::kTcpIpv6; }),
                  false,
                  {.checksum = true, .tcp_ipv4 = true}},
        FromGuest{"ecn_not_agreed",
                  with(kTcp, [](auto& o) { o.segmentation |= FrameOffload::kEcn; }),
                  false,
                  {.checksum = true, .tcp_ipv4 = true, .tcp_ipv6 = true}},
        FromGuest{"ecn_alone", with(kTcp, [](auto& o) { o.segmentation = FrameOffload::kEcn; }), false},
        FromGuest{"udp_fragmentation", with(kTcp, [](auto& o) { o.segmentation = 3; }), false},
        FromGuest{"udp_segmentation", with(kTcp, [](auto& o) { o.segmentation = 5; }), false},
        FromGuest{"unknown_kind", with(kTcp, [](auto& o) { o.segmentation = 0x41; }), false},
        FromGuest{"segments_of_nothing", with(kTcp, [](auto& o) { o.segment_bytes = 0; }), false},
        FromGuest{"segmentation_without_checksum", with(kTcp, [](auto& o) { o.flags = 0; }), false},
        FromGuest{"checksum_is_not_tcps", with(kTcp, [](auto& o) { o.checksum_offset = 6; }), false},
        FromGuest{"tcp_header_is_cut", kTcp, false, kAll, 53},
        FromGuest{"wrong_header_length_is_a_hint", with(kTcp, [](auto& o) { o.header_bytes = 0xffff; }), true}),
    [](const auto& each) { return each.param.name; });

// --------------------------------------------------------------------------------------------------------------- to the guest

TEST(NetOffload, ToTheGuestGoesWhatItTakesOn) {
  auto frame = pattern(3000, 1);
  EXPECT_EQ(offload_to_guest(kTcp, frame, kAll), kTcp);
  EXPECT_EQ(offload_to_guest(with(kTcp, [](auto& o) { o.header_bytes = 0xffff; }), frame, kAll)->header_bytes, 3000);
  EXPECT_EQ(offload_to_guest(kTcp, frame, {.checksum = true}), std::nullopt) << "left from an earlier driver";
  EXPECT_EQ(offload_to_guest(with(kTcp, [](auto& o) { o.segment_bytes = 0; }), frame, kAll), std::nullopt);
  EXPECT_EQ(offload_to_guest(kUdpChecksum, frame, kAll), kUdpChecksum);
  EXPECT_EQ(offload_to_guest(with(kUdpChecksum, [](auto& o) { o.checksum_start = 2999; }), frame, kAll), std::nullopt);
  const FrameOffload valid{.flags = FrameOffload::kChecksumValid};
  EXPECT_EQ(offload_to_guest(valid, frame, kAll), valid);
  // 5.1.6.4.1: without GUEST_CSUM flags are zero.
  EXPECT_EQ(offload_to_guest(valid, frame, {}), FrameOffload{});
  EXPECT_EQ(frame, pattern(3000, 1));
}

TEST(NetOffload, AChecksumThatTheGuestDoesNotTakeOnIsFinishedHere) {
  for (const std::size_t bytes : {std::size_t{60}, std::size_t{61}}) {
    auto frame = pattern(bytes, 4);
    EXPECT_EQ(offload_to_guest(kUdpChecksum, frame, {}), FrameOffload{});
    // RFC 1071: over all that is covered, the sum with its own complement is all ones.
    std::uint32_t sum = 0;
    auto covered = std::vector<std::byte>(frame.begin() + 34, frame.end());
    const auto before = pattern(bytes, 4);
    for (std::size_t i = 0; i < covered.size(); ++i) {
      EXPECT_TRUE(i == 6 || i == 7 || covered[i] == before[34 + i]);
      sum += std::to_integer<std::uint32_t>(covered[i]) << (i % 2 == 0 ? 8 : 0);
    }
    // What lay in the field (the pseudo header's sum) counts as well.
    sum += std::to_integer<std::uint32_t>(before[40]) << 8 | std::to_integer<std::uint32_t>(before[41]);
    while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
    EXPECT_EQ(sum, 0xffffu);
  }
}

// -------------------------------------------------------------------------------------------------------------------- the device

class NetOffloadTest : public NetTest {};

TEST_F(NetOffloadTest, OffersThemOnlyWithABackendThatHasThem) {
  EXPECT_EQ(driver_->offered() & (kHostOffloads | kGuestOffloads), kHostOffloads | kGuestOffloads);
  EXPECT_EQ(net_->geometry(), "");
  auto plain =
      Net::create({"net1", GuestPhysicalAddress{0xD000'1000}, rig_.memory, &rig_.loop()}, kMac, std::make_shared<FakeNetBackend>(false), 1);
  ASSERT_TRUE(plain);
  VirtioDriver driver{**plain};
  EXPECT_EQ(driver.offered() & (kHostOffloads | kGuestOffloads | feature(net_wire::kFeatureControlGuestOffloads)), 0u);
  EXPECT_EQ((*plain)->geometry(), ":tap-without-offloads");
  EXPECT_FALSE(driver.negotiate(kNetFeatures | kHostOffloads));
}

TEST_F(NetOffloadTest, TransmitsWithTheOffloadAndCountsWhatItRefuses) {
  start(kNetFeatures | kHostOffloads);
  send(pattern(60'000, 1), kTcp);
  send(pattern(100, 2), kUdpChecksum);
  send(pattern(100, 3));
  send(pattern(40, 4), kUdpChecksum);
  send(pattern(3000, 5), with(kTcp, [](auto& o) { o.segment_bytes = 0; }));
  kick(1);
  EXPECT_THAT(backend_->sent_offloads(), ElementsAre(kTcp, kUdpChecksum, FrameOffload{}));
  ASSERT_EQ(backend_->sent().size(), 3u);
  EXPECT_EQ(backend_->sent()[0], pattern(60'000, 1));
  EXPECT_EQ(net_->refused_transmits(), 2u);
  EXPECT_EQ(rings_[1].take_all_used().size(), 5u);
}

TEST_F(NetOffloadTest, ReceivesALargeFrameWithItsHeader) {
  start(kNetFeatures | kGuestOffloads | kMergeable);
  const auto first = offer(32'768);
  const auto second = offer(32'768);
  kick(0);
  arrive(pattern(60'000, 7), kTcp);
  EXPECT_EQ(rings_[0].take_all_used(), (std::vector<Used>{{0, 32'768}, {1, 60'012 - 32'768}}));
  EXPECT_EQ(header_at(first).offload, kTcp);
  EXPECT_EQ(header_at(first).buffer_count, 2);
  auto got = guest_bytes(first + 12, 32'756);
  const auto rest = guest_bytes(second, 60'012 - 32'768);
  got.insert(got.end(), rest.begin(), rest.end());
  EXPECT_EQ(got, pattern(60'000, 7));
}

TEST_F(NetOffloadTest, WithoutMergingALargeFrameNeedsOneLargeBuffer) {
  start(kNetFeatures | kGuestOffloads);
  const auto at = offer(65'562);  // 5.1.6.3.1
  kick(0);
  arrive(pattern(60'000, 7), kTcp);
  EXPECT_EQ(rings_[0].take_all_used(), (std::vector<Used>{{0, 60'012}}));
  EXPECT_EQ(header_at(at).offload, kTcp);
  EXPECT_EQ(header_at(at).buffer_count, 1);
}

TEST_F(NetOffloadTest, WhatItDoesNotTakeOnNeverReachesTheGuest) {
  start(kNetFeatures | kMergeable);
  const auto at = offer(2000);
  kick(0);
  arrive(pattern(1000, 1), kTcp);
  EXPECT_EQ(net_->refused_receives(), 1u);
  arrive(pattern(100, 2), kUdpChecksum);
  EXPECT_EQ(rings_[0].take_all_used(), (std::vector<Used>{{0, 112}}));
  EXPECT_EQ(header_at(at).offload, FrameOffload{}) << "finished by the device";
}

TEST_F(NetOffloadTest, TheBackendLearnsWhatTheDriverTakesOnAndThatItIsGone) {
  EXPECT_THAT(backend_->receive_offloads(), ElementsAre(Offloads{})) << "at first none, whoever used the tap before";
  start(kNetFeatures | kGuestOffloads);
  EXPECT_THAT(backend_->receive_offloads(), ElementsAre(Offloads{}, kAll));
  kick(0);
  kick(1);
  EXPECT_THAT(backend_->receive_offloads(), ElementsAre(Offloads{}, kAll)) << "told once";
  driver_->write(VIRTIO_MMIO_STATUS, 0);
  rig_.settle();
  EXPECT_THAT(backend_->receive_offloads(), ElementsAre(Offloads{}, kAll, Offloads{}));
  start_again(kNetFeatures | feature(net_wire::kFeatureGuestChecksum));
  EXPECT_EQ(backend_->receive_offloads().back(), (Offloads{.checksum = true}));
}

TEST_F(NetOffloadTest, ATwinTellsItsOwnHostsBackend) {
  start(kNetFeatures | kGuestOffloads);
  rig_.on_loop([&] { ASSERT_TRUE(net_->quiesce()); });
  capnp::MallocMessageBuilder message;
  net_->save(message.initRoot<schema::DeviceState>());
  backend_ = std::make_shared<FakeNetBackend>();
  const auto twin = make();
  ASSERT_TRUE(twin->restore(message.getRoot<schema::DeviceState>().asReader()));
  EXPECT_THAT(backend_->receive_offloads(), IsEmpty()) << "a warm secondary leaves its tap alone";
  rig_.on_loop([&] { twin->resume(); });
  EXPECT_THAT(backend_->receive_offloads(), ElementsAre(kAll));
  rig_.on_loop([&] { twin->detach(); });
  EXPECT_EQ(backend_->receive_offloads().back(), Offloads{});
}

}  // namespace
}  // namespace understudy
