#include "net/announce.h"

#include <cctype>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy {
namespace {

constexpr MacAddress kMac{{0x52, 0x54, 0x00, 0x12, 0x34, 0x56}};
constexpr Ipv4Address kIpv4{{10, 0, 0, 10}};
constexpr Ipv6Address kIpv6{{0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x50, 0x54, 0, 0xff, 0xfe, 0x12, 0x34, 0x56}};

std::string hex_of(const EthernetFrame& frame) {
  std::string text;
  for (const auto byte : frame) {
    constexpr const char* kDigits = "0123456789abcdef";
    text += kDigits[static_cast<unsigned>(byte) >> 4];
    text += kDigits[static_cast<unsigned>(byte) & 15];
  }
  return text;
}
std::string without_spaces(std::string text) {
  std::erase_if(text, [](char c) { return std::isspace(static_cast<unsigned char>(c)); });
  return text;
}

class RecordingPort final : public PacketPort {
 public:
  bool offloads() const override { return false; }
  Result<void> set_receive_offloads(const Offloads&) override { return {}; }
  Result<void> send(const FrameOffload&, std::span<const std::byte> frame) override {
    sent.emplace_back(frame.begin(), frame.end());
    if (sent.size() == fail_at) return Error{ErrorCode::kBusy, "full"};
    return {};
  }
  Result<std::optional<ReceivedFrame>> receive(std::span<std::byte>) override { return std::optional<ReceivedFrame>{}; }
  int fd() const override { return -1; }
  std::vector<EthernetFrame> sent;
  std::size_t fail_at = 0;
};

TEST(Announce, GratuitousArp) {
  EXPECT_EQ(hex_of(gratuitous_arp(kMac, kIpv4)), without_spaces(R"(
    ffffffffffff 525400123456 0806
    0001 0800 06 04 0001
    525400123456 0a00000a
    000000000000 0a00000a
    000000000000000000000000000000000000)"));
}

TEST(Announce, ReverseArp) {
  EXPECT_EQ(hex_of(reverse_arp(kMac)), without_spaces(R"(
    ffffffffffff 525400123456 8035
    0001 0800 06 04 0003
    525400123456 00000000
    525400123456 00000000
    000000000000000000000000000000000000)"));
}

TEST(Announce, UnsolicitedNeighborAdvertisement) {
  const auto frame = unsolicited_neighbor_advertisement(kMac, kIpv6);
  const auto text = hex_of(frame);
  EXPECT_EQ(text.substr(0, 112), without_spaces(R"(
    333300000001 525400123456 86dd
    60000000 0020 3a ff
    fe80000000000000505400fffe123456
    ff020000000000000000000000000001
    8800)"))
      << text;
  EXPECT_EQ(text.substr(116), without_spaces(R"(
    20000000
    fe80000000000000505400fffe123456
    0201 525400123456)"));
  // The receiver's check: pseudo header and message, checksum included, sum to all ones.
  std::uint32_t sum = 32 + 58;
  for (std::size_t i = 22; i < frame.size(); i += 2)
    sum += static_cast<std::uint32_t>(frame[i]) << 8 | static_cast<std::uint32_t>(frame[i + 1]);
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  EXPECT_EQ(sum, 0xffffU);
}

TEST(Announce, SendsRarpAlwaysAndEachKnownAddress) {
  EXPECT_EQ(announcement({.mac = kMac, .ipv4 = {}, .ipv6 = {}}).size(), 1U);
  EXPECT_EQ(announcement({.mac = kMac, .ipv4 = kIpv4, .ipv6 = {}}).size(), 2U);
  RecordingPort port;
  EXPECT_TRUE(announce(port, {.mac = kMac, .ipv4 = kIpv4, .ipv6 = kIpv6}));
  EXPECT_EQ(port.sent, announcement({.mac = kMac, .ipv4 = kIpv4, .ipv6 = kIpv6}));
}

TEST(Announce, AFailedFrameDoesNotKeepTheOthersBack) {
  RecordingPort port;
  port.fail_at = 1;
  const auto sent = announce(port, {.mac = kMac, .ipv4 = kIpv4, .ipv6 = kIpv6});
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().text(), "announce 52:54:00:12:34:56: full");
  EXPECT_EQ(port.sent.size(), 3U);
}

TEST(Announce, RepeatsAtGrowingIntervalsAndEnds) {
  Duration before{-1};
  unsigned rounds = 0;
  while (const auto wait = next_announcement_in(rounds)) {
    EXPECT_GT(*wait, before);
    before = *wait;
    ASSERT_LT(++rounds, 100U);
  }
  EXPECT_GE(rounds, 3U);
}

}  // namespace
}  // namespace understudy
