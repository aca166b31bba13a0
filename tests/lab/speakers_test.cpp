// The wire's judge: one host at a time, frames under way at a stop told apart, and frames parsed without trust.
#include "tests/lab/speakers.h"

#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::lab {
namespace {

constexpr MacAddress kGuest{{0x52, 0x54, 0, 0x77, 0, 0x10}};

GuestFrame frame(std::int64_t at_ms, NodeId host, std::optional<std::uint64_t> sequence = std::nullopt) {
  GuestFrame out{.at = Instant{Duration{at_ms * 1'000'000}}, .host = host, .reply = std::nullopt, .tcp = std::nullopt};
  if (sequence)
    out.reply = guest::KvReply{.magic = guest::kKvReplyMagic,
                               .client = 0,
                               .id = 1,
                               .status = 0,
                               .boot_count = 1,
                               .value = 0,
                               .sequence = *sequence,
                               .state_checksum = 0};
  return out;
}

bool committed_up_to_ten(const GuestFrame& frame) { return frame.reply && frame.reply->sequence <= 10; }

TEST(Speakers, OneHostAfterTheOther) {
  const GuestFrame frames[] = {frame(1, NodeId::kA, 1), frame(2, NodeId::kA), frame(500, NodeId::kB), frame(501, NodeId::kB, 2)};
  const auto findings = judge_speakers(frames, committed_up_to_ten);
  EXPECT_TRUE(spoke_one_at_a_time(findings));
  EXPECT_EQ(findings.hosts[0].frames, 2U);
  EXPECT_EQ(findings.hosts[1].frames, 2U);
  ASSERT_TRUE(findings.changed_at);
  EXPECT_EQ(*findings.changed_at, frames[2].at);
}

TEST(Speakers, OneHostAlone) {
  const GuestFrame frames[] = {frame(1, NodeId::kA), frame(2, NodeId::kA)};
  const auto findings = judge_speakers(frames, committed_up_to_ten);
  EXPECT_TRUE(spoke_one_at_a_time(findings));
  EXPECT_FALSE(findings.changed_at);
}

TEST(Speakers, ANewReplyFromTheHostThatWasLeftIsTwoHostsAnswering) {
  const GuestFrame frames[] = {frame(1, NodeId::kA, 1), frame(500, NodeId::kB, 2), frame(501, NodeId::kA, 11)};
  const auto findings = judge_speakers(frames, committed_up_to_ten);
  EXPECT_EQ(findings.late, 1U);
  EXPECT_FALSE(spoke_one_at_a_time(findings));
  EXPECT_THAT(findings.examples, testing::ElementsAre(testing::HasSubstr("host-a sent a reply with sequence 11")));
}

TEST(Speakers, AnAnnouncementFromTheHostThatWasLeftIsTwoHostsAnswering) {
  const GuestFrame frames[] = {frame(1, NodeId::kA, 1), frame(500, NodeId::kB), frame(9000, NodeId::kA)};
  EXPECT_FALSE(spoke_one_at_a_time(judge_speakers(frames, committed_up_to_ten)));
}

TEST(Speakers, TheFrameUnderWayIsToleratedAndABurstIsNot) {
  const GuestFrame one[] = {frame(1, NodeId::kA, 1), frame(500, NodeId::kB, 2), frame(9000, NodeId::kA, 9)};
  EXPECT_EQ(judge_speakers(one, committed_up_to_ten).late_committed, 1U);
  EXPECT_TRUE(spoke_one_at_a_time(judge_speakers(one, committed_up_to_ten)));
  const GuestFrame two[] = {one[0], one[1], one[2], frame(9000, NodeId::kA, 10)};
  EXPECT_FALSE(spoke_one_at_a_time(judge_speakers(two, committed_up_to_ten)));
}

TEST(Speakers, FramesAreJudgedInTheOrderOfTheirTimes) {
  const GuestFrame frames[] = {frame(500, NodeId::kB, 2), frame(1, NodeId::kA, 1)};
  EXPECT_TRUE(spoke_one_at_a_time(judge_speakers(frames, committed_up_to_ten)));
}

std::vector<std::byte> reply_frame() {
  std::vector<std::byte> bytes(14 + 20 + 8 + sizeof(guest::KvReply));
  const auto put = [&](std::size_t offset, std::uint8_t value) { bytes[offset] = std::byte{value}; };
  std::memcpy(bytes.data() + 6, kGuest.octets.data(), 6);
  put(12, 0x08);
  put(14, 0x45);
  put(17, 20 + 8 + sizeof(guest::KvReply));
  put(14 + 9, 17);
  put(34, guest::kKvPort >> 8);
  put(35, guest::kKvPort & 0xff);
  put(39, 8 + sizeof(guest::KvReply));
  const guest::KvReply reply{
      .magic = guest::kKvReplyMagic, .client = 3, .id = 4, .status = 0, .boot_count = 1, .value = 5, .sequence = 6, .state_checksum = 7};
  std::memcpy(bytes.data() + 42, &reply, sizeof reply);
  return bytes;
}

TEST(GuestFrame, AReplyIsRead) {
  const auto bytes = reply_frame();
  const auto parsed = parse_guest_frame(bytes, kGuest, NodeId::kB, Instant{});
  ASSERT_TRUE(parsed && parsed->reply);
  EXPECT_EQ(parsed->reply->sequence, 6U);
  EXPECT_EQ(parsed->host, NodeId::kB);
}

std::vector<std::byte> tcp_frame(std::string_view payload, std::uint8_t flags) {
  std::vector<std::byte> bytes(14 + 20 + 20 + payload.size());
  const auto put = [&](std::size_t offset, std::uint8_t value) { bytes[offset] = std::byte{value}; };
  std::memcpy(bytes.data() + 6, kGuest.octets.data(), 6);
  put(12, 0x08);
  put(14, 0x45);
  put(17, static_cast<std::uint8_t>(40 + payload.size()));
  put(14 + 9, 6);
  put(35, 80);    // from port 80
  put(36, 0x12);  // to port 0x1200
  put(41, 9);     // sequence 9
  put(45, 7);     // acknowledges 7
  put(46, 0x50);  // header of 20 bytes
  put(47, flags);
  std::memcpy(bytes.data() + 54, payload.data(), payload.size());
  return bytes;
}

TEST(GuestFrame, ATcpSegmentIsReadWithoutThePaddingOfAShortFrame) {
  auto bytes = tcp_frame("ab", 0x10);
  bytes.resize(60);
  const auto parsed = parse_guest_frame(bytes, kGuest, NodeId::kB, Instant{});
  ASSERT_TRUE(parsed && parsed->tcp);
  EXPECT_FALSE(parsed->reply);
  EXPECT_EQ(parsed->tcp->guest_port, 80);
  EXPECT_EQ(parsed->tcp->peer_port, 0x1200);
  EXPECT_EQ(parsed->tcp->sequence, 9U);
  EXPECT_EQ(parsed->tcp->acknowledged, 7U);
  EXPECT_TRUE(parsed->tcp->acknowledges);
  EXPECT_FALSE(parsed->tcp->reset);
  EXPECT_THAT(parsed->tcp->payload, testing::ElementsAre(std::byte{'a'}, std::byte{'b'}));
  // A SYN takes up one sequence number before the first byte.
  EXPECT_EQ(parse_guest_frame(tcp_frame("", 0x12), kGuest, NodeId::kB, Instant{})->tcp->sequence, 10U);
  EXPECT_TRUE(parse_guest_frame(tcp_frame("", 0x04), kGuest, NodeId::kB, Instant{})->tcp->reset);
}

TEST(GuestFrame, EveryShorterTcpFrameIsReadWithinItsBounds) {
  const auto bytes = tcp_frame("payload", 0x10);
  for (std::size_t size = 14; size < bytes.size(); ++size) {
    const std::vector<std::byte> cut{bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)};
    const auto parsed = parse_guest_frame(cut, kGuest, NodeId::kA, Instant{});
    EXPECT_FALSE(parsed && parsed->tcp) << size;
  }
}

TEST(GuestFrame, AnotherSenderIsNotTheGuest) {
  auto bytes = reply_frame();
  bytes[6] ^= std::byte{2};
  EXPECT_FALSE(parse_guest_frame(bytes, kGuest, NodeId::kA, Instant{}));
}

TEST(GuestFrame, EveryShorterFrameIsReadWithinItsBounds) {
  const auto bytes = reply_frame();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const std::vector<std::byte> cut{bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)};  // its own block: ASan sees the end
    const auto parsed = parse_guest_frame(cut, kGuest, NodeId::kA, Instant{});
    EXPECT_EQ(parsed.has_value(), size >= 14) << size;
    EXPECT_FALSE(parsed && parsed->reply) << size;
  }
}

}  // namespace
}  // namespace understudy::lab
