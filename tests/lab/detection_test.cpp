// The judge of detection: which verdict counts, and what is wrong with one; and the row that the table shows.
#include "tests/lab/detection.h"

#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/lab/at_ms.h"
#include "tests/lab/outcome.h"

namespace understudy::lab {
namespace {

using testing::HasSubstr;

TEST(VerdictOnPeer, IsTheFirstSinceThenThatFindsItUnfit) {
  const NodeEvent events[] = {
      {at_ms(900), "verdict", "the peer is failed: service NIC failed: svc0: no carrier"},
      {at_ms(1010), "role", "the peer is failed: storage failed: EIO"},
      {at_ms(1020), "verdict", "this host is failed: storage failed: EIO"},
      {at_ms(1030), "verdict", "the peer is degraded: storage degraded: slow"},
      {at_ms(1040), "verdict", "the peer is healthy"},
      {at_ms(1050), "verdict", "the peer is failed: guest disk failed: EIO; storage failed: EIO"},
      {at_ms(1060), "verdict", "the peer is silent: silent for 400 ms"},
  };
  const auto found = verdict_on_peer(events, at_ms(1000));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->at, at_ms(1050));
  EXPECT_EQ(found->condition, "failed");
  EXPECT_EQ(found->path, "guest disk");
  EXPECT_EQ(found->text, "guest disk failed: EIO; storage failed: EIO");
}

TEST(VerdictOnPeer, OfASilentOneNamesNoPath) {
  const NodeEvent events[] = {{at_ms(1400), "verdict", "the peer is silent: silent for 410 ms; its probe failed before"}};
  const auto found = verdict_on_peer(events, at_ms(1000));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->condition, "silent");
  EXPECT_EQ(found->path, "");
  EXPECT_FALSE(verdict_on_peer(events, at_ms(1401)));
  const NodeEvent bare[] = {{at_ms(1), "verdict", "the peer is failed"}};
  ASSERT_TRUE(verdict_on_peer(bare, at_ms(0)));
  EXPECT_EQ(verdict_on_peer(bare, at_ms(0))->path, "");
}

Outcome detected(Fault fault, NodeId struck) {
  Outcome outcome;
  outcome.fault = fault;
  outcome.struck = struck;
  outcome.fault_at = at_ms(1000);
  outcome.first_reply_after = at_ms(1600);
  outcome.acknowledged_before = outcome.acknowledged_after = outcome.acknowledged_after_thaw = 10;
  const bool silent = detection_of(fault)->paths.empty();
  const std::string text = silent ? "silent for 400 ms" : "storage failed: EIO";
  outcome.verdict =
      FoundVerdict{.at = at_ms(1200), .condition = silent ? "silent" : "failed", .path = silent ? "" : "storage", .text = text};
  outcome.verdict_told = outcome.verdict->condition + ": " + text + ", secondary";
  NodeStatus well;
  well.role = struck == NodeId::kA ? "solo" : "primary";
  outcome.statuses[static_cast<std::size_t>(peer_of(struck))] = well;
  if (struck == NodeId::kA) {
    outcome.speakers.changed_at = at_ms(1500);
    outcome.statuses[0] = NodeStatus{};
    outcome.statuses[0]->role = "fenced";
  }
  return outcome;
}

struct DetectionCase {
  const char* name;
  Fault fault;
  NodeId struck;
  std::function<void(Outcome&)> spoil;
  const char* sentence;
};
class DetectionShortcoming : public testing::TestWithParam<DetectionCase> {};

TEST_P(DetectionShortcoming, IsNamed) {
  auto outcome = detected(GetParam().fault, GetParam().struck);
  EXPECT_THAT(shortcomings(outcome), testing::IsEmpty());
  GetParam().spoil(outcome);
  EXPECT_THAT(shortcomings(outcome), testing::ElementsAre(HasSubstr(GetParam().sentence)));
  EXPECT_THAT(detection_as_text(outcome), HasSubstr("BAD: "));
}

const DetectionCase kDetectionCases[] = {
    {"none", Fault::kStorageEio, NodeId::kA, [](Outcome& o) { o.verdict.reset(); }, "there was no verdict of host-b on host-a"},
    {"another_path", Fault::kStorageEio, NodeId::kA, [](Outcome& o) { o.verdict->text = "service NIC failed: EIO"; },
     "the verdict of host-b on host-a is wrong: failed: service NIC"},
    {"silence_for_a_path", Fault::kStorageHang, NodeId::kA, [](Outcome& o) { o.verdict->condition = "silent"; }, "is wrong: silent"},
    {"a_path_for_silence", Fault::kDaemonStop, NodeId::kA, [](Outcome& o) { o.verdict->condition = "failed"; }, "is wrong: failed"},
    {"only_degraded", Fault::kStorageSlow, NodeId::kB, [](Outcome& o) { o.verdict_told = "degraded: storage degraded: slow"; },
     "the status of host-a says of its peer: degraded"},
    {"not_told", Fault::kStorageSlow, NodeId::kB, [](Outcome& o) { o.verdict_told = "healthy, secondary"; }, "says of its peer: healthy"},
    {"sick_one_took_over", Fault::kStorageEio, NodeId::kB, [](Outcome& o) { o.speakers.hosts[1].frames = 1; },
     "host-b took over, though it is the one that is sick"},
    {"stayed", Fault::kStateHang, NodeId::kA,
     [](Outcome& o) {
       o.statuses[0]->role = "solo";
       o.statuses[1]->role = "secondary";
     },
     "host-b did not take over"},
};
INSTANTIATE_TEST_SUITE_P(All, DetectionShortcoming, testing::ValuesIn(kDetectionCases),
                         [](const auto& one) { return std::string{one.param.name}; });

TEST(DetectionRow, HasTheFiguresAndTheJudgement) {
  auto outcome = detected(Fault::kStorageEio, NodeId::kA);
  EXPECT_EQ(detection_as_json(outcome),
            R"({"fault": "storage-eio", "side": "primary", "verdict": "failed", "path": "storage", "verdict_ms": 200.0, )"
            R"("first_packet_ms": 600.0, "lost": 0})");
  EXPECT_THAT(detection_as_text(outcome), testing::MatchesRegex("storage-eio +primary +failed +storage +200 +600 +0  good"));
  outcome.first_reply_after = at_ms(2001);
  EXPECT_TRUE(over_the_aim(outcome));
  EXPECT_THAT(detection_as_text(outcome), testing::EndsWith("good, but over the aim of 1 s"));
}

TEST(DetectionRow, OfARunWithoutVerdictSaysSo) {
  auto outcome = detected(Fault::kDaemonStop, NodeId::kB);
  outcome.verdict.reset();
  outcome.first_reply_after.reset();
  EXPECT_EQ(detection_as_json(outcome),
            R"({"fault": "daemon-stop", "side": "secondary", "verdict": "none", "path": "", "verdict_ms": null, )"
            R"("first_packet_ms": null, "lost": 0})");
}

}  // namespace
}  // namespace understudy::lab
