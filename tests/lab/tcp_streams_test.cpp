// What is news on a TCP connection, and what repeats.
#include "tests/lab/tcp_streams.h"

#include <string_view>

#include <gtest/gtest.h>

namespace understudy::lab {
namespace {

TcpSegment segment(std::uint32_t sequence, std::string_view text, std::uint32_t acknowledged = 100, std::uint16_t port = 80) {
  TcpSegment out{
      .guest_port = port, .peer_port = 4000, .sequence = sequence, .acknowledged = acknowledged, .acknowledges = true, .payload = {}};
  for (const char c : text) out.payload.push_back(static_cast<std::byte>(c));
  return out;
}

GuestFrame frame(std::int64_t at_ms, NodeId host, TcpSegment tcp) {
  return {.at = Instant{Duration{at_ms * 1'000'000}}, .host = host, .reply = std::nullopt, .tcp = std::move(tcp)};
}

TEST(TcpStreams, WhatTheTwoHostsSaidInTurnIsNoNews) {
  const GuestFrame frames[] = {frame(1, NodeId::kA, segment(10, "abcd")), frame(500, NodeId::kB, segment(12, "cdefgh", 120)),
                               frame(900, NodeId::kA, segment(18, "ij"))};
  const TcpStreams streams{frames};
  EXPECT_TRUE(streams.repeats(segment(10, "abcd")));
  EXPECT_TRUE(streams.repeats(segment(11, "bcdef")));  // from both
  EXPECT_TRUE(streams.repeats(segment(18, "", 120)));  // an acknowledgement
  EXPECT_FALSE(streams.repeats(segment(18, "", 121))) << "it acknowledges more";
  EXPECT_FALSE(streams.repeats(segment(16, "ghi"))) << "a byte that neither said in its turn";
  EXPECT_FALSE(streams.repeats(segment(18, "ij"))) << "what the host said after the other followed counts for nothing";
  EXPECT_FALSE(streams.repeats(segment(10, "abxd"))) << "another byte";
  EXPECT_FALSE(streams.repeats(segment(10, "abcd", 100, 6379))) << "another connection";
  auto reset = segment(10, "");
  reset.reset = true;
  EXPECT_FALSE(streams.repeats(reset));
}

TEST(TcpStreams, SequenceNumbersWrap) {
  const GuestFrame frames[] = {frame(1, NodeId::kA, segment(0xFFFFFFFE, "abcd", 0xFFFFFFF0))};
  const TcpStreams streams{frames};
  EXPECT_TRUE(streams.repeats(segment(0xFFFFFFFF, "bcd", 0xFFFFFFF0)));
  EXPECT_TRUE(streams.repeats(segment(1, "d", 0xFFFFFFE0)));
  EXPECT_FALSE(streams.repeats(segment(1, "de", 0xFFFFFFF0)));
  EXPECT_FALSE(streams.repeats(segment(1, "d", 5)));
}

}  // namespace
}  // namespace understudy::lab
