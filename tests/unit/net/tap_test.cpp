// Needs the right to make network namespaces and taps; runs in a namespace of its own, so that the host sees nothing of it.
#include "net/tap.h"

#include <array>
#include <cstring>
#include <sched.h>

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
    UniqueFd fd{::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL))};
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
