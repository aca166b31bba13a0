// Needs the right to make network namespaces and taps; runs in a namespace of its own, so that the host sees nothing of it.
#include "net/tap.h"

#include <array>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <sched.h>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "net/announce.h"

namespace understudy {
namespace {

using testing::HasSubstr;

class TapTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { ASSERT_EQ(::unshare(CLONE_NEWNET), 0) << "run as root: tests need a network namespace of their own"; }

  static void set_up(const std::string& name, bool up) {
    const UniqueFd control{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    ifreq request{};
    name.copy(request.ifr_name, IFNAMSIZ - 1);
    ASSERT_EQ(::ioctl(control.get(), SIOCGIFFLAGS, &request), 0);
    request.ifr_flags = static_cast<short>(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
    ASSERT_EQ(::ioctl(control.get(), SIOCSIFFLAGS, &request), 0);
  }
  // The host's side of the tap: what a bridge would see.
  static UniqueFd packet_socket(const std::string& name) {
    UniqueFd fd{::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};  // 0: nothing of other interfaces before it is bound
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_ALL);
    address.sll_ifindex = static_cast<int>(::if_nametoindex(name.c_str()));
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    return fd;
  }
  static std::unique_ptr<Tap> made(const std::string& name) {
    auto tap = Tap::open(name, {.create_if_missing = true});
    EXPECT_TRUE(tap) << tap.error().text();
    return tap ? std::move(*tap) : nullptr;
  }
};

TEST_F(TapTest, CarriesFramesBothWays) {
  const auto tap = made("us-test0");
  ASSERT_NE(tap, nullptr);
  set_up("us-test0", true);
  const auto host = packet_socket("us-test0");
  const auto frame = gratuitous_arp(MacAddress{{2, 0, 0, 0, 0, 1}}, Ipv4Address{{10, 0, 0, 10}});

  ASSERT_TRUE(tap->send({}, frame));
  std::array<std::byte, 2048> buffer{};
  bool seen = false;
  for (ssize_t got = 0; (got = ::recv(host.get(), buffer.data(), buffer.size(), 0)) > 0;)
    seen = seen || (static_cast<std::size_t>(got) == frame.size() && std::memcmp(buffer.data(), frame.data(), frame.size()) == 0);
  EXPECT_TRUE(seen);

  ASSERT_EQ(::send(host.get(), frame.data(), frame.size(), 0), static_cast<ssize_t>(frame.size()));
  seen = false;
  for (;;) {  // the kernel's own chatter (IPv6) comes, too
    const auto got = tap->receive(buffer);
    ASSERT_TRUE(got) << got.error().text();
    if (!*got) break;
    seen = seen || ((*got)->bytes == frame.size() && std::memcmp(buffer.data(), frame.data(), frame.size()) == 0);
  }
  EXPECT_TRUE(seen);
}

// An IPv4 TCP segment with so much payload, its checksum left to whoever passes it on (RFC 9293, 3.1: the field holds the pseudo header's
// sum).
class Segment {
 public:
  explicit Segment(std::size_t payload) : bytes(54 + payload) {
    put(0, {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0});
    const std::size_t ip_bytes = 40 + payload;
    put(14,
        {0x45, 0, static_cast<int>(ip_bytes >> 8), static_cast<int>(ip_bytes & 0xff), 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2});
    const auto ip_sum = static_cast<std::uint16_t>(~sum(14, 20, 0));
    put(24, {ip_sum >> 8, ip_sum & 0xff});
    put(34, {1, 2, 3, 4, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 4, 0, 0, 0, 0, 0});
    for (std::size_t i = 0; i < payload; ++i) bytes[54 + i] = static_cast<std::byte>(i * 7);
    const auto pseudo = sum(26, 8, static_cast<std::uint32_t>(6 + 20 + payload));
    put(50, {pseudo >> 8, pseudo & 0xff});
  }
  // Whether the frame's TCP checksum is right, as a receiver checks it.
  static bool checksum_right(std::span<const std::byte> frame) {
    Segment segment{0};
    segment.bytes.assign(frame.begin(), frame.end());
    const std::size_t tcp_bytes = frame.size() - 34;
    return segment.sum(34, tcp_bytes, segment.sum(26, 8, static_cast<std::uint32_t>(6 + tcp_bytes))) == 0xffff;
  }
  FrameOffload offload() const {
    return {.flags = FrameOffload::kNeedsChecksum,
            .segmentation = bytes.size() > 1514 ? FrameOffload::kTcpIpv4 : FrameOffload::kNone,
            .header_bytes = 54,
            .segment_bytes = static_cast<std::uint16_t>(bytes.size() > 1514 ? 1000 : 0),
            .checksum_start = 34,
            .checksum_offset = 16};
  }

  std::vector<std::byte> bytes;

 private:
  void put(std::size_t at, std::initializer_list<int> values) {
    for (const int value : values) bytes[at++] = static_cast<std::byte>(value);
  }
  std::uint16_t sum(std::size_t at, std::size_t count, std::uint32_t begin) const {
    for (std::size_t i = 0; i < count; ++i) begin += std::to_integer<std::uint32_t>(bytes[at + i]) << (i % 2 == 0 ? 8 : 0);
    while (begin >> 16 != 0) begin = (begin & 0xffff) + (begin >> 16);
    return static_cast<std::uint16_t>(begin);
  }
};

// Sends a frame from the host's side towards the guest, as the host's own TCP would: with its offload.
void send_from_host(const UniqueFd& host, const Segment& segment) {
  const int on = 1;
  ASSERT_EQ(::setsockopt(host.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on), 0);
  auto offload = segment.offload();
  std::vector<std::byte> message(sizeof offload + segment.bytes.size());
  std::memcpy(message.data(), &offload, sizeof offload);
  std::memcpy(message.data() + sizeof offload, segment.bytes.data(), segment.bytes.size());
  ASSERT_EQ(::send(host.get(), message.data(), message.size(), 0), static_cast<ssize_t>(message.size()));
}

// The TCP frames that came to the guest.
std::vector<std::pair<std::vector<std::byte>, FrameOffload>> received_tcp(Tap& tap) {
  std::vector<std::pair<std::vector<std::byte>, FrameOffload>> frames;
  std::vector<std::byte> buffer(Tap::kMaxFrameBytes);
  while (true) {
    const auto got = tap.receive(buffer);
    EXPECT_TRUE(got);
    if (!got || !*got) return frames;
    if ((*got)->bytes < 54 || buffer[12] != std::byte{8} || buffer[23] != std::byte{6}) continue;
    frames.emplace_back(std::vector<std::byte>(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>((*got)->bytes)),
                        (*got)->offload);
  }
}

TEST_F(TapTest, WhatTheGuestTakesOnIsLeftToItAndNothingElse) {
  const auto tap = made("us-test0");
  ASSERT_NE(tap, nullptr);
  ASSERT_TRUE(tap->offloads());
  set_up("us-test0", true);
  const auto host = packet_socket("us-test0");
  const Segment large{6000};
  // The kernel segments and finishes checksums for a guest that takes on nothing.
  const auto expect_segments = [&] {
    send_from_host(host, large);
    const auto frames = received_tcp(*tap);
    EXPECT_EQ(frames.size(), 6U);
    for (const auto& [frame, offload] : frames) {
      EXPECT_EQ(frame.size(), 1054U);
      EXPECT_TRUE(Segment::checksum_right(frame));
      EXPECT_EQ(offload.segmentation, FrameOffload::kNone);
      EXPECT_EQ(offload.flags & FrameOffload::kNeedsChecksum, 0);
    }
  };
  expect_segments();
  ASSERT_TRUE(tap->set_receive_offloads({.checksum = true, .tcp_ipv4 = true, .tcp_ipv6 = true, .ecn = true}));
  send_from_host(host, large);
  const auto frames = received_tcp(*tap);
  ASSERT_EQ(frames.size(), 1U);
  EXPECT_EQ(frames[0].first.size(), large.bytes.size());
  EXPECT_EQ(frames[0].second.segmentation, FrameOffload::kTcpIpv4);
  EXPECT_EQ(frames[0].second.segment_bytes, 1000);
  EXPECT_EQ(frames[0].second.flags, FrameOffload::kNeedsChecksum);
  EXPECT_EQ(frames[0].second.checksum_start, 34);
  EXPECT_EQ(frames[0].second.checksum_offset, 16);
  ASSERT_TRUE(tap->set_receive_offloads({}));
  expect_segments();
}

TEST_F(TapTest, TheHostTakesTheGuestsOffloads) {
  const auto tap = made("us-test0");
  ASSERT_NE(tap, nullptr);
  set_up("us-test0", true);
  const auto host = packet_socket("us-test0");
  const int on = 1;
  ASSERT_EQ(::setsockopt(host.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on), 0);
  const Segment large{60'000};
  ASSERT_TRUE(tap->send(large.offload(), large.bytes));
  std::vector<std::byte> buffer(1 << 17);
  bool seen = false;
  for (ssize_t got = 0; (got = ::recv(host.get(), buffer.data(), buffer.size(), 0)) > 0;) {
    if (static_cast<std::size_t>(got) != sizeof(FrameOffload) + large.bytes.size()) continue;
    FrameOffload offload;
    std::memcpy(&offload, buffer.data(), sizeof offload);
    EXPECT_EQ(offload.segmentation, FrameOffload::kTcpIpv4);
    EXPECT_EQ(offload.segment_bytes, 1000);
    seen = true;
  }
  EXPECT_TRUE(seen) << "in one piece, for the last to segment it";
  // What the device lets through and the kernel still does not want is refused, and is no fault of the tap.
  auto wrong = large.offload();
  wrong.checksum_start = 0xfff0;
  EXPECT_EQ(tap->send(wrong, large.bytes).error().code(), ErrorCode::kInvalid);
}

TEST_F(TapTest, WithoutOffloadsItCarriesPlainFramesOnly) {
  auto tap = Tap::open("us-test0", {.create_if_missing = true, .offloads = false});
  ASSERT_TRUE(tap) << tap.error().text();
  EXPECT_FALSE((*tap)->offloads());
  EXPECT_TRUE((*tap)->set_receive_offloads({}));
  EXPECT_EQ((*tap)->set_receive_offloads({.checksum = true}).error().code(), ErrorCode::kInvalid);
  set_up("us-test0", true);
  const auto host = packet_socket("us-test0");
  send_from_host(host, Segment{6000});
  const auto frames = received_tcp(**tap);
  EXPECT_EQ(frames.size(), 6U);
  for (const auto& [frame, offload] : frames) EXPECT_EQ(offload, FrameOffload{});
}

TEST_F(TapTest, ADeletedTapIsGone) {
  const auto tap = made("us-test0");
  ASSERT_NE(tap, nullptr);
  set_up("us-test0", true);
  ASSERT_EQ(std::system("ip link delete us-test0"), 0);
  std::vector<std::byte> buffer(2048);
  EXPECT_EQ(tap->send({}, std::vector<std::byte>(60)).error().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(tap->receive(buffer).error().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(tap->set_receive_offloads({.checksum = true}).error().code(), ErrorCode::kUnavailable);
}

TEST_F(TapTest, AFrameThatDoesNotFitIsDroppedAndCounted) {
  const auto tap = made("us-test0");
  ASSERT_NE(tap, nullptr);
  set_up("us-test0", true);
  const auto host = packet_socket("us-test0");
  std::array<std::byte, 2048> all{};
  while (tap->receive(all).value_or(std::nullopt)) {
  }
  const std::vector<std::byte> large(1000, std::byte{0xff});
  const std::vector<std::byte> small(100, std::byte{0xff});
  ASSERT_EQ(::send(host.get(), large.data(), large.size(), 0), 1000);
  ASSERT_EQ(::send(host.get(), small.data(), small.size(), 0), 100);
  std::array<std::byte, 100> buffer{};
  const auto got = tap->receive(buffer);
  ASSERT_TRUE(got);
  ASSERT_TRUE(*got);
  EXPECT_EQ((*got)->bytes, 100U);
  EXPECT_GE(tap->oversized_frames(), 1U);
}

TEST_F(TapTest, AMissingTapIsNotMadeAndSaysHowTo) {
  const auto tap = Tap::open("us-missing");
  ASSERT_FALSE(tap);
  EXPECT_EQ(tap.error().code(), ErrorCode::kUnavailable);
  EXPECT_THAT(tap.error().text(), HasSubstr("no such interface: create it with `ip tuntap add dev us-missing mode tap`"));
  EXPECT_EQ(::if_nametoindex("us-missing"), 0U);
}

TEST_F(TapTest, AnInterfaceThatIsNoTap) {
  const auto tap = Tap::open("lo");
  ASSERT_FALSE(tap);
  EXPECT_EQ(tap.error().code(), ErrorCode::kInvalid);
  EXPECT_THAT(tap.error().text(), HasSubstr("not a plain tap"));
}

TEST_F(TapTest, ATapInUse) {
  const auto first = made("us-test0");
  ASSERT_NE(first, nullptr);
  const auto second = Tap::open("us-test0");
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().text(), HasSubstr("in use by another process"));
}

TEST_F(TapTest, BadNames) {
  for (const std::string name : {"", "has space", "a/b", "tap%d", "longer-than-fifteen"}) {
    const auto tap = Tap::open(name);
    ASSERT_FALSE(tap);
    EXPECT_EQ(tap.error().code(), ErrorCode::kInvalid) << name;
  }
}

TEST_F(TapTest, AnInterfaceThatIsDownIsUnavailable) {
  const auto tap = made("us-test0");
  ASSERT_NE(tap, nullptr);
  set_up("us-test0", false);
  const auto sent = tap->send({}, std::vector<std::byte>(60));
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code(), ErrorCode::kUnavailable);
  EXPECT_THAT(sent.error().text(), HasSubstr("`ip link set us-test0 up`"));
}

TEST_F(TapTest, NotAFrame) {
  const auto tap = made("us-test0");
  ASSERT_NE(tap, nullptr);
  EXPECT_EQ(tap->send({}, std::vector<std::byte>(13)).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(tap->send({}, std::vector<std::byte>(Tap::kMaxFrameBytes + 1)).error().code(), ErrorCode::kInvalid);
}

}  // namespace
}  // namespace understudy
