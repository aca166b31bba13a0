// A status is read whole or refused with the field that is wrong.
#include "tests/lab/node_status.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::lab {
namespace {

constexpr std::string_view kStatus = R"({
  "pair": "demo", "node": "b", "role": "solo", "mode": "solo", "term": 3, "epoch": 0, "committedEpoch": 812, "protected": false,
  "reason": "took over: no heartbeat for 400 ms", "peerVerdict": "silent: silent for 400 ms, primary", "guest": "running", "ended": "", "gate": {"mode": "open"}, "probes": [],
  "last": {"pauseUs": 900, "dirtyPages": 21, "ackUs": 450, "pauseMedianUs": 880, "pauseP99Us": 1900},
  "transfer": {"kind": "resync", "sentBytes": 4096},
  "links": {"refused": 3, "lastRefused": "10.77.1.9: its handshake is malformed"},
  "timeline": [{"name": "detected", "monotonicNs": 123456789012345, "realtimeNs": 1700000000000000000, "term": 2, "text": "silence"}]})";

TEST(NodeStatus, IsRead) {
  const auto status = parse_node_status(kStatus);
  ASSERT_TRUE(status) << status.error().text();
  EXPECT_TRUE(status->runs_the_guest());
  EXPECT_EQ(status->term, Term{3});
  EXPECT_EQ(status->committed_epoch, Epoch{812});
  EXPECT_FALSE(status->is_protected);
  EXPECT_EQ(status->guest, "running");
  EXPECT_EQ(status->peer_verdict, "silent: silent for 400 ms, primary");
  EXPECT_EQ(status->ended, "");
  EXPECT_EQ(status->pause_p99_us, 1900U);
  EXPECT_EQ(status->transfer_kind, "resync");
  EXPECT_EQ(status->transfer_sent_bytes, 4096U);
  EXPECT_EQ(status->links_refused, 3U);
  EXPECT_EQ(status->links_last_refused, "10.77.1.9: its handshake is malformed");
  ASSERT_EQ(status->timeline.size(), 1U);
  EXPECT_EQ(status->timeline[0].at, Instant{Duration{123456789012345}});
  EXPECT_EQ(status->timeline[0].text, "silence");
}

TEST(NodeStatus, AMissingFieldIsNamed) {
  std::string text{kStatus};
  text.replace(text.find("committedEpoch"), 14, "committedepoch");
  const auto status = parse_node_status(text);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().text(), testing::HasSubstr("committedEpoch"));
}

TEST(NodeStatus, AFieldOfAnotherTypeIsNamed) {
  std::string text{kStatus};
  text.replace(text.find("\"term\": 3"), 9, "\"term\": \"\"");
  const auto status = parse_node_status(text);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().text(), testing::HasSubstr("\"term\""));
}

constexpr std::string_view kEvents = R"({"serial": 7, "kind": "verdict", "text": "the peer is silent", "monotonicNs": 123456789012345}
{"serial": 8, "kind": "role", "text": "solo, term 3", "monotonicNs": 123456789999999}
)";

TEST(NodeEvents, AreRead) {
  const auto events = parse_node_events(kEvents);
  ASSERT_TRUE(events) << events.error().text();
  ASSERT_EQ(events->size(), 2U);
  EXPECT_EQ((*events)[0].at, Instant{Duration{123456789012345}});
  EXPECT_EQ((*events)[0].kind, "verdict");
  EXPECT_EQ((*events)[1].text, "solo, term 3");
  EXPECT_THAT(parse_node_events("").value(), testing::IsEmpty());
}

TEST(NodeEvents, ALineThatIsCutOrLacksAFieldIsRefused) {
  EXPECT_FALSE(parse_node_events(kEvents.substr(0, kEvents.size() - 3)));
  const auto events = parse_node_events(R"({"kind": "verdict", "text": ""})");
  ASSERT_FALSE(events);
  EXPECT_THAT(events.error().text(), testing::HasSubstr("monotonicNs"));
}

TEST(NodeEpochs, AreRead) {
  const auto epochs = parse_node_epochs(R"({"epoch":7,"pauseUs":310,"dirtyPages":21,"sentBytes":90112,"ackUs":800,"gateFrames":2}
{"epoch":8,"pauseUs":300,"dirtyPages":20,"sentBytes":90000,"ackUs":700,"gateFrames":0}
)");
  ASSERT_TRUE(epochs) << epochs.error().text();
  ASSERT_EQ(epochs->size(), 2U);
  EXPECT_EQ((*epochs)[0].epoch, Epoch{7});
  EXPECT_EQ((*epochs)[0].pause_us, 310U);
  EXPECT_EQ((*epochs)[1].ack_us, 700U);
  EXPECT_FALSE(parse_node_epochs(R"({"epoch":7})"));
}

TEST(NodeStatus, WhatIsNotJsonIsRefused) {
  for (std::size_t size = 0; size < kStatus.size(); ++size) EXPECT_FALSE(parse_node_status(kStatus.substr(0, size))) << size;
  EXPECT_FALSE(parse_node_status("[]"));
}

}  // namespace
}  // namespace understudy::lab
