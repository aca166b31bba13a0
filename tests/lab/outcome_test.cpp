// The verdict: a good run has nothing against it, and each thing that must not be is named.
#include "tests/lab/outcome.h"

#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/lab/report.h"

namespace understudy::lab {
namespace {

constexpr Instant at_ms(std::int64_t ms) { return Instant{Duration{ms * 1'000'000}}; }

NodeStatus node(const char* role) {
  NodeStatus status;
  status.role = role;
  status.reason = "because";
  return status;
}

Outcome good(Fault fault) {
  Outcome outcome;
  outcome.fault = fault;
  outcome.fault_at = at_ms(1000);
  outcome.acknowledged_before = outcome.acknowledged_after = outcome.acknowledged_after_thaw = 10;
  outcome.speakers.changed_at = at_ms(1500);
  outcome.statuses[1] = node("solo");
  if (fault != Fault::kKill) outcome.statuses[0] = node("fenced");
  return outcome;
}

struct Case {
  const char* name;
  Fault fault;
  std::function<void(Outcome&)> spoil;
  const char* sentence;
};
class Shortcoming : public testing::TestWithParam<Case> {};

TEST_P(Shortcoming, IsNamed) {
  auto outcome = good(GetParam().fault);
  EXPECT_THAT(shortcomings(outcome), testing::IsEmpty());
  GetParam().spoil(outcome);
  EXPECT_THAT(shortcomings(outcome), testing::Contains(testing::HasSubstr(GetParam().sentence)));
  EXPECT_THAT(report_as_text(outcome), testing::HasSubstr("verdict: BAD"));
  EXPECT_THAT(report_as_json(outcome), testing::HasSubstr("\"good\": false"));
}

const Case kCases[] = {
    {"lost", Fault::kKill, [](Outcome& o) { o.history.lost = 1; }, "lost"},
    {"contradicted", Fault::kKill, [](Outcome& o) { o.history.contradicted = 1; }, "contradict"},
    {"twice", Fault::kKill, [](Outcome& o) { o.history.executed_twice = 1; }, "executed twice"},
    {"unanswered", Fault::kKill, [](Outcome& o) { o.unanswered = 1; }, "unanswered"},
    {"nothing_before", Fault::kKill, [](Outcome& o) { o.acknowledged_before = 0; }, "before the fault"},
    {"nothing_after", Fault::kKill, [](Outcome& o) { o.acknowledged_after = 0; }, "after the fault"},
    {"disk", Fault::kKill, [](Outcome& o) { o.log_records_missing = 1; }, "not on the disk"},
    {"two_hosts", Fault::kPartition, [](Outcome& o) { o.speakers.late = 1; }, "two hosts answered"},
    {"gate_emptied_late", Fault::kFreeze, [](Outcome& o) { o.speakers.late_committed = 2; }, "two hosts answered"},
    {"blind", Fault::kKill, [](Outcome& o) { o.frames_missed = 1; }, "missed"},
    {"death", Fault::kNic, [](Outcome& o) { o.background = "understudyd on host-b exited"; }, "host-b exited"},
    {"nobody_runs", Fault::kKill, [](Outcome& o) { o.statuses[1] = node("secondary"); }, "not exactly one host"},
    {"both_run", Fault::kPartition, [](Outcome& o) { o.statuses[0] = node("primary"); }, "not exactly one host"},
    {"stayed", Fault::kNic,
     [](Outcome& o) {
       o.statuses = {node("solo"), node("secondary")};
     },
     "did not take over"},
    {"silent_successor", Fault::kKill, [](Outcome& o) { o.speakers.changed_at.reset(); }, "sent nothing"},
    {"woken_not_fenced", Fault::kFreeze, [](Outcome& o) { o.statuses[0] = node("secondary"); }, "not fenced"},
    {"nothing_after_waking", Fault::kFreeze, [](Outcome& o) { o.acknowledged_after_thaw = 0; }, "after host-a woke up"},
};
INSTANTIATE_TEST_SUITE_P(All, Shortcoming, testing::ValuesIn(kCases), [](const auto& one) { return std::string{one.param.name}; });

TEST(Outcome, APartitionMayLeaveTheGuestWhereItIs) {
  auto outcome = good(Fault::kPartition);
  outcome.statuses = {node("solo"), node("secondary")};
  outcome.speakers.changed_at.reset();
  EXPECT_THAT(shortcomings(outcome), testing::IsEmpty());
  EXPECT_THAT(report_as_text(outcome), testing::HasSubstr("verdict: GOOD: partition: the guest goes on on host-a"));
}

AcknowledgedReply reply(std::uint64_t id, std::int64_t received_ms) {
  AcknowledgedReply out{};
  out.reply.id = id;
  out.received_at = at_ms(received_ms);
  return out;
}

TEST(Outcome, RepliesAreCountedAndTheSilenceIsMeasured) {
  Outcome outcome;
  outcome.fault_at = at_ms(1000);
  outcome.speakers.changed_at = at_ms(1490);
  const AcknowledgedReply replies[] = {reply(1, 100),  reply(2, 990),  reply(2, 995), reply(3, 1005),
                                       reply(4, 1500), reply(5, 1600), reply(6, 9000)};
  summarize_replies(outcome, replies, at_ms(1550));
  EXPECT_EQ(outcome.acknowledged_before, 2U);  // the repeated one counts once
  EXPECT_EQ(outcome.acknowledged_after, 4U);
  EXPECT_EQ(outcome.longest_silence, at_ms(990) - at_ms(100));  // what follows the reading back is not the service's silence
  EXPECT_EQ(outcome.first_reply_after, at_ms(1500));
}

TEST(Outcome, WithoutAChangeOfHostsTheServiceIsBackAfterTheLongestSilence) {
  Outcome outcome;
  outcome.fault_at = at_ms(1000);
  const AcknowledgedReply replies[] = {reply(1, 990), reply(2, 1005), reply(3, 1300), reply(4, 1310)};
  summarize_replies(outcome, replies, at_ms(5000));
  EXPECT_EQ(outcome.first_reply_after, at_ms(1300));
}

TEST(Outcome, TheTimelineIsInOrderAndStartsAtTheFault) {
  auto outcome = good(Fault::kKill);
  outcome.first_reply_after = at_ms(1510);
  outcome.statuses[1]->timeline = {{"protected", at_ms(200), Term{1}, ""}, {"detected", at_ms(1400), Term{1}, "silence"}};
  const auto entries = timeline(outcome);
  ASSERT_EQ(entries.size(), 4U);
  EXPECT_EQ(entries[0].name, "fault");
  EXPECT_EQ(entries[1].name, "detected");
  EXPECT_EQ(entries[2].name, "first frame");
  EXPECT_EQ(entries[3].name, "first packet");
}

}  // namespace
}  // namespace understudy::lab
