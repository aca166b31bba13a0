// The guest's network stack: right answers, and none to what is damaged, short, foreign or lying about its length.
#include "tests/guest/ip_stack.h"

#include <cstring>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "tests/guest/host_frames.h"

namespace understudy::guest {
namespace {

using testing::Frame;
constexpr MacAddress kGuestMac{0x52, 0x54, 0, 0, 0, 1};
constexpr MacAddress kPeerMac{0x52, 0x54, 0, 0, 0, 2};
constexpr std::uint32_t kGuestIp = 0x0A4D000A;
constexpr std::uint32_t kPeerIp = 0x0A4D0001;

class Upper final : public UdpService {
 public:
  std::size_t answer(InBytes request, OutBytes out) override {
    for (std::size_t i = 0; i < request.size(); ++i) out[i] = static_cast<unsigned char>(request[i] + 1);
    return request.size();
  }
};

struct IpFixture {
  Upper upper;
  IpStack stack{kGuestMac, kGuestIp, 7070, &upper};
  Frame answer(const Frame& frame) const {
    Frame out(kMaxEthernetFrameBytes);
    out.resize(stack.answer(frame, out));
    return out;
  }
};

const testing::Peer kPeer{.own_mac = kPeerMac, .own_ip = kPeerIp, .guest_mac = kGuestMac, .guest_ip = kGuestIp};

TEST(IpStack, AnswersArpForItsAddressOnly) {
  const IpFixture f;
  const Frame reply = f.answer(kPeer.arp_request());
  ASSERT_EQ(reply.size(), 42U);
  EXPECT_TRUE(kPeer.is_arp_reply(reply));
  testing::Peer other = kPeer;
  other.guest_ip = kGuestIp + 1;
  EXPECT_TRUE(f.answer(other.arp_request()).empty());
}

TEST(IpStack, AnswersEcho) {
  const IpFixture f;
  for (const std::size_t size : {0UL, 1UL, 56UL, 57UL, 1472UL}) {
    const Frame payload(size, 0x5a);
    EXPECT_EQ(kPeer.echo_reply_payload(f.answer(kPeer.echo_request(7, 9, payload)), 7, 9), payload) << size;
  }
}

TEST(IpStack, AnswersUdpOnItsPort) {
  const IpFixture f;
  for (const std::size_t size : {1UL, 2UL, 32UL, 1001UL, 1472UL}) {
    const Frame payload(size, 3);
    const auto reply = kPeer.udp_payload(f.answer(kPeer.udp(5000, 7070, payload)), 7070, 5000);
    EXPECT_EQ(reply, Frame(size, 4)) << size;
    EXPECT_TRUE(f.answer(kPeer.udp(5000, 7071, payload)).empty());
  }
}

TEST(IpStack, PaddedFrameIsAnswered) {
  const IpFixture f;
  Frame frame = kPeer.udp(5000, 7070, Frame(4, 1));
  frame.resize(60);
  EXPECT_EQ(kPeer.udp_payload(f.answer(frame), 7070, 5000), Frame(4, 2));
}

TEST(IpStack, SilentToWhatIsNotWholeOrNotForIt) {
  const IpFixture f;
  const Frame good = kPeer.udp(5000, 7070, Frame(32, 1));
  struct Case {
    const char* name;
    std::size_t at;
    unsigned char value;
    bool fix_ip_checksum;
  };
  const Case cases[] = {
      {"another MAC", 5, 9, false},
      {"another type", 13, 1, false},
      {"IPv6", 14, 0x65, true},
      {"header of 16 bytes", 14, 0x44, true},
      {"header past the end", 14, 0x4f, true},
      {"total length past the end", 16, 5, true},
      {"total length below header", 17, 10, true},
      {"fragment", 20, 0x20, true},
      {"another IP", 33, 11, true},
      {"IP checksum", 24, 0x77, false},
      {"UDP length past the end", 38, 4, false},
      {"UDP length below header", 39, 7, false},
      {"UDP checksum", 41, 1, false},
      {"payload", 50, 77, false},
      {"TCP", 23, 6, true},
  };
  ASSERT_FALSE(f.answer(good).empty());
  for (const auto& c : cases) {
    Frame bad = good;
    bad[c.at] = c.value;
    if (c.fix_ip_checksum) testing::fix_ip_checksum(bad);
    EXPECT_TRUE(f.answer(bad).empty()) << c.name;
  }
  for (std::size_t size = 0; size < good.size(); ++size)
    EXPECT_TRUE(f.answer(Frame(good.begin(), good.begin() + static_cast<long>(size))).empty());
}

// Nothing that arrives makes it read or write outside its frames (run under AddressSanitizer too).
TEST(IpStack, SurvivesAnything) {
  const IpFixture f;
  std::mt19937_64 random{5};
  const Frame seeds[] = {kPeer.arp_request(), kPeer.echo_request(1, 2, Frame(40, 1)), kPeer.udp(5000, 7070, Frame(60, 2))};
  std::size_t answered = 0;
  for (int i = 0; i < 200'000; ++i) {
    Frame frame = seeds[random() % 3];
    for (auto flips = random() % 4; flips > 0; --flips) frame[random() % frame.size()] = static_cast<unsigned char>(random());
    if (random() % 4 == 0) frame.resize(random() % (frame.size() + 1));
    if (random() % 2 == 0 && frame.size() >= 34 && frame[12] == 8 && frame[13] == 0) testing::fix_ip_checksum(frame);
    answered += f.answer(frame).empty() ? 0U : 1U;
  }
  EXPECT_GT(answered, 1'000U);
}

}  // namespace
}  // namespace understudy::guest
