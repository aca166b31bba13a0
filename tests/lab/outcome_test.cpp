// The verdict: a good run has nothing against it, and each thing that must not be is named.
#include "tests/lab/outcome.h"

#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/lab/at_ms.h"
#include "tests/lab/report.h"

namespace understudy::lab {
namespace {

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
  if (const auto asked = detection_of(fault)) {
    const std::string path = asked->paths.empty() ? "" : std::string{asked->paths.front()};
    outcome.verdict = FoundVerdict{.at = at_ms(1300),
                                   .condition = path.empty() ? "silent" : "failed",
                                   .path = path,
                                   .text = path.empty() ? "silent for 400 ms" : path + " failed: gone"};
    outcome.verdict_told = outcome.verdict->condition + ": " + outcome.verdict->text + ", primary";
  }
  if (guest_then(fault, NodeId::kA) != GuestThen::kStays) return outcome;
  outcome.speakers.changed_at.reset();
  outcome.statuses = {node("primary"), node("secondary")};
  outcome.statuses[0]->is_protected = true;
  if (fault == Fault::kArbiterRestart) {
    outcome.statuses[0]->term = outcome.statuses[1]->term = Term{2};
    outcome.arbiter =
        ArbiterBreak{.term_before = Term{2},
                     .acknowledged_meanwhile = 9,
                     .back_at = at_ms(3000),
                     .record_after = "etcd at http://10.0.0.1:1, store 5: pair lab: term 2, pair; holder: node a (incarnation 7)"};
    return outcome;
  }
  if (fault == Fault::kRoughTimes) {
    outcome.rough = RoughRun{.figures = {.lasted = std::chrono::seconds{3}, .stolen_share = 0.79, .spikes = 2, .frames_lost = 9},
                             .acknowledged_meanwhile = 5};
    return outcome;
  }
  if (fault == Fault::kLinksBack) {
    outcome.resync = Resync{.role_meanwhile = "solo", .kind = "resync", .sent_bytes = 3 << 20, .took = std::chrono::milliseconds{400}};
    outcome.compared = "the same on both nodes";
    return outcome;
  }
  if (fault == Fault::kIntruder) {
    outcome.statuses[0]->term = outcome.statuses[1]->term = Term{2};
    outcome.intrusion =
        Intrusion{.term_before = Term{2}, .tried = {{.what = "random bytes", .where = "heartbeat", .told = "10.0.0.2: malformed"}}};
    return outcome;
  }
  outcome.history.boots = 2;
  outcome.ending = GuestEnding{.told = {"running; it was rebooted", "warm; it was rebooted"}, .not_left_alone = "", .started_at = {}};
  if (stays_over(fault)) outcome.ending->started_at = at_ms(5000);
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
    {"two_hosts", Fault::kLinksCut, [](Outcome& o) { o.speakers.late = 1; }, "two hosts answered"},
    {"gate_emptied_late", Fault::kDaemonStop, [](Outcome& o) { o.speakers.late_committed = 2; }, "two hosts answered"},
    {"blind", Fault::kKill, [](Outcome& o) { o.frames_missed = 1; }, "missed"},
    {"death", Fault::kServiceNicGone, [](Outcome& o) { o.background = "understudyd on host-b exited"; }, "host-b exited"},
    {"sent_everything", Fault::kLinksBack, [](Outcome& o) { o.resync->kind = "full"; }, "not sent what may differ alone: full"},
    {"sent_too_much", Fault::kLinksBack, [](Outcome& o) { o.resync->sent_bytes = 64 << 20; }, "the resync sent 67108864 bytes"},
    {"never_alone", Fault::kLinksBack, [](Outcome& o) { o.resync->role_meanwhile = "primary"; }, "did not go on alone"},
    {"not_compared", Fault::kLinksBack, [](Outcome& o) { o.compared.clear(); }, "were not compared"},
    {"not_the_same", Fault::kKill, [](Outcome& o) { o.not_the_same = "NOT the same on both nodes"; }, "NOT the same on both nodes"},
    {"nobody_runs", Fault::kKill, [](Outcome& o) { o.statuses[1] = node("secondary"); }, "not exactly one host"},
    {"both_run", Fault::kLinksCut, [](Outcome& o) { o.statuses[0] = node("primary"); }, "not exactly one host"},
    {"stayed", Fault::kServiceNicGone,
     [](Outcome& o) {
       o.statuses = {node("solo"), node("secondary")};
     },
     "did not take over"},
    {"silent_successor", Fault::kKill, [](Outcome& o) { o.speakers.changed_at.reset(); }, "sent nothing"},
    {"woken_not_fenced", Fault::kDaemonStop, [](Outcome& o) { o.statuses[0] = node("secondary"); }, "not fenced"},
    {"not_told", Fault::kGuestReboot, [](Outcome& o) { o.ending->told[1].clear(); }, "host-b's status did not name the guest's end"},
    {"revived", Fault::kGuestPowerOff, [](Outcome& o) { o.ending->not_left_alone = "host-b said: solo"; }, "host-b said: solo"},
    {"not_started", Fault::kPowerButton, [](Outcome& o) { o.ending->started_at.reset(); }, "not started again"},
    {"one_boot", Fault::kGuestCrash, [](Outcome& o) { o.history.boots = 1; }, "1 boots of the guest answered"},
    {"three_boots", Fault::kGuestReboot, [](Outcome& o) { o.history.boots = 3; }, "3 boots of the guest answered"},
    {"successor_spoke", Fault::kGuestReboot, [](Outcome& o) { o.speakers.hosts[1].frames = 1; }, "host-b took over"},
    {"moved", Fault::kGuestCrash,
     [](Outcome& o) {
       o.statuses = {node("fenced"), node("solo")};
     },
     "not on host-a any more"},
    {"not_protected_again", Fault::kGuestPowerOff, [](Outcome& o) { o.statuses[0]->is_protected = false; }, "not protected again"},
    {"needed_arbiter", Fault::kArbiterRestart, [](Outcome& o) { o.arbiter->acknowledged_meanwhile = 0; }, "while the arbiter was away"},
    {"moved_without_arbiter", Fault::kArbiterRestart, [](Outcome& o) { o.speakers.hosts[1].frames = 1; }, "though host-a was well"},
    {"unprotected_without_arbiter", Fault::kArbiterRestart, [](Outcome& o) { o.statuses[0]->is_protected = false; },
     "not a protected primary any more"},
    {"peer_lost_without_arbiter", Fault::kArbiterRestart, [](Outcome& o) { o.statuses[1] = node("fenced"); }, "not its secondary any more"},
    {"term_moved", Fault::kArbiterRestart, [](Outcome& o) { o.statuses[0]->term = Term{3}; }, "the term changed from 2 to 3"},
    {"term_moved_for_a_while", Fault::kArbiterRestart,
     [](Outcome& o) {
       o.statuses[1]->timeline = {{"granted", at_ms(1100), Term{3}, ""}};
     },
     "host-b changed its term: granted"},
    {"intruder_let_in", Fault::kIntruder, [](Outcome& o) { o.intrusion->tried[0].told.clear(); },
     "random bytes at heartbeat: nobody said that it was refused"},
    {"intruder_idle", Fault::kIntruder, [](Outcome& o) { o.intrusion->tried.clear(); }, "the intruder tried nothing"},
    {"intruder_moved_the_guest", Fault::kIntruder, [](Outcome& o) { o.statuses[0]->term = Term{3}; }, "the term changed from 2 to 3"},
    {"arbiter_forgot", Fault::kArbiterRestart, [](Outcome& o) { o.arbiter->record_after = "pair lab: no record"; }, "without its record"},
    {"cpus_not_stolen", Fault::kRoughTimes, [](Outcome& o) { o.rough->figures.stolen_share = 0.5; }, "only 50 % of the CPUs were stolen"},
    {"links_not_delayed", Fault::kRoughTimes, [](Outcome& o) { o.rough->figures.spikes = 0; }, "the links were not rough"},
    {"no_frame_lost", Fault::kRoughTimes, [](Outcome& o) { o.rough->figures.frames_lost = 0; }, "the links were not rough"},
    {"stood_still_in_rough_times", Fault::kRoughTimes, [](Outcome& o) { o.rough->acknowledged_meanwhile = 0; }, "in rough times"},
    {"false_positive", Fault::kRoughTimes, [](Outcome& o) { o.speakers.hosts[1].frames = 1; }, "host-b took over, though host-a was well"},
    {"unprotected_after_rough_times", Fault::kRoughTimes, [](Outcome& o) { o.statuses[0]->is_protected = false; }, "not protected again"},
    {"disk_of_a_boot", Fault::kGuestReboot, [](Outcome& o) { o.log_records_missing = 1; }, "not on the disk"},
    {"nothing_after_waking", Fault::kDaemonStop, [](Outcome& o) { o.acknowledged_after_thaw = 0; }, "after host-a woke up"},
};
INSTANTIATE_TEST_SUITE_P(All, Shortcoming, testing::ValuesIn(kCases), [](const auto& one) { return std::string{one.param.name}; });

LinuxFindings good_linux() {
  LinuxFindings findings;
  findings.pages_before = findings.pages_after = 10;
  findings.kernel_log = {.whole = true, .lines = 1, .complaints = {}, .at_rest = true};
  return findings;
}

struct LinuxCase {
  const char* name;
  std::function<void(LinuxFindings&)> spoil;
  const char* sentence;
};
class LinuxShortcoming : public testing::TestWithParam<LinuxCase> {};

TEST_P(LinuxShortcoming, IsNamed) {
  auto outcome = good(Fault::kKill);
  outcome.linux_guest = good_linux();
  EXPECT_THAT(shortcomings(outcome), testing::IsEmpty());
  GetParam().spoil(*outcome.linux_guest);
  EXPECT_THAT(shortcomings(outcome), testing::ElementsAre(testing::HasSubstr(GetParam().sentence)));
  EXPECT_THAT(report_as_text(outcome), testing::HasSubstr("verdict: BAD"));
  EXPECT_THAT(report_as_json(outcome), testing::AllOf(testing::HasSubstr("\"good\": false"), testing::HasSubstr("\"linux\": {")));
}

const LinuxCase kLinuxCases[] = {
    {"connection", [](LinuxFindings& f) { f.connection_ended = "read from Redis: reset"; }, "connection did not live: read from Redis"},
    {"no_page_before", [](LinuxFindings& f) { f.pages_before = 0; }, "no web page came before"},
    {"no_page_after", [](LinuxFindings& f) { f.pages_after = 0; }, "no web page came after"},
    {"wrong_page",
     [](LinuxFindings& f) {
       f.pages_wrong = {"+3 ms from the fault: no answer", "x"};
     },
     "2 web pages did not come"},
    {"power", [](LinuxFindings& f) { f.no_power_off = "it did not end within 30 s"; }, "did not power off: it did not end"},
    {"file_system", [](LinuxFindings& f) { f.file_system = "Free blocks count wrong\nFix? no"; },
     "not clean: Free blocks count wrong Fix?"},
    {"not_at_rest", [](LinuxFindings& f) { f.kernel_log.at_rest = false; }, "not at rest"},
    {"log_cut", [](LinuxFindings& f) { f.kernel_log.whole = false; }, "did not reach the console whole"},
    {"complaint", [](LinuxFindings& f) { f.kernel_log.complaints = {"<0>[9.0] watchdog: BUG: soft lockup"}; }, "complained 1 times"},
};
INSTANTIATE_TEST_SUITE_P(All, LinuxShortcoming, testing::ValuesIn(kLinuxCases),
                         [](const auto& one) { return std::string{one.param.name}; });

TEST(LinuxFindings, PagesAreCountedByWhenTheyCame) {
  const PageFetch fetches[] = {{at_ms(900), at_ms(950), ""}, {at_ms(990), at_ms(2100), ""}, {at_ms(2200), at_ms(2300), "no answer"}};
  LinuxFindings findings;
  count_pages(findings, fetches, at_ms(1000));
  EXPECT_EQ(findings.pages_before, 1U);
  EXPECT_EQ(findings.pages_after, 1U);  // begun before the fault, and whole after it
  EXPECT_THAT(findings.pages_wrong, testing::ElementsAre("+1200 ms from the fault: no answer"));
}

TEST(CheckPage, OnlyTheWholePageWithStatus200IsRight) {
  constexpr const char* kPage = "one\r\n\r\ntwo";
  EXPECT_EQ(check_page("HTTP/1.1 200 OK\r\nServer: x\r\n\r\none\r\n\r\ntwo", kPage), "");
  EXPECT_THAT(check_page("HTTP/1.1 200 OK\r\n\r\none\r\n\r\ntw", kPage), testing::HasSubstr("has 9 bytes and differs after 9"));
  EXPECT_THAT(check_page("HTTP/1.1 200 OK\r\n\r\none\r\n\r\ntwO", kPage), testing::HasSubstr("differs after 9"));
  EXPECT_THAT(check_page("HTTP/1.1 404 Not Found\r\n\r\none\r\n\r\ntwo", kPage), testing::HasSubstr("404"));
  EXPECT_THAT(check_page("HTTP/1.1 200 OK\r\nServer", kPage), testing::HasSubstr("no whole head"));
  EXPECT_THAT(check_page("", kPage), testing::HasSubstr("no whole head"));
}

TEST(Outcome, APartitionMayLeaveTheGuestWhereItIs) {
  auto outcome = good(Fault::kLinksCut);
  outcome.statuses = {node("solo"), node("secondary")};
  outcome.speakers.changed_at.reset();
  EXPECT_THAT(shortcomings(outcome), testing::IsEmpty());
  EXPECT_THAT(report_as_text(outcome), testing::HasSubstr("verdict: GOOD: links-cut: the guest goes on on host-a"));
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
  summarize_replies(outcome, acknowledgement_times(replies), at_ms(1550));
  EXPECT_EQ(outcome.acknowledged_before, 2U);  // the repeated one counts once
  EXPECT_EQ(outcome.acknowledged_after, 4U);
  EXPECT_EQ(outcome.longest_silence, at_ms(990) - at_ms(100));  // what follows the reading back is not the service's silence
  EXPECT_EQ(outcome.first_reply_after, at_ms(1500));
}

TEST(Outcome, WithoutAChangeOfHostsTheServiceIsBackAfterTheLongestSilence) {
  Outcome outcome;
  outcome.fault_at = at_ms(1000);
  const AcknowledgedReply replies[] = {reply(1, 990), reply(2, 1005), reply(3, 1300), reply(4, 1310)};
  summarize_replies(outcome, acknowledgement_times(replies), at_ms(5000));
  EXPECT_EQ(outcome.first_reply_after, at_ms(1300));
}

TEST(Outcome, WithoutASilenceTheServiceWasNeverAway) {
  Outcome outcome;
  outcome.fault_at = at_ms(1000);
  const AcknowledgedReply replies[] = {reply(1, 990), reply(2, 1005), reply(3, 1010), reply(4, 1090)};
  summarize_replies(outcome, acknowledgement_times(replies), at_ms(5000));
  EXPECT_EQ(outcome.first_reply_after, at_ms(1005));
}

TEST(Outcome, AStartAfreshIsReportedAsWhatItIs) {
  auto outcome = good(Fault::kGuestPowerOff);
  outcome.ending->told[1] = "the guest powered off at noon";
  const auto text = report_as_text(outcome);
  EXPECT_THAT(text, testing::HasSubstr("verdict: GOOD: guest-poweroff: the guest started afresh on host-a"));
  EXPECT_THAT(text, testing::HasSubstr("host-b told      the guest powered off at noon"));
  EXPECT_THAT(text, testing::HasSubstr("understudy start on host-a"));
  EXPECT_THAT(report_as_json(outcome),
              testing::AllOf(testing::HasSubstr("\"ending\": {\"boots\": 2"), testing::HasSubstr("\"startedAfterMs\": 4000.000")));
}

TEST(Fault, EachHasItsName) {
  for (const auto& name : fault_names()) {
    const auto fault = fault_of(name);
    ASSERT_TRUE(fault.has_value()) << name;
    EXPECT_EQ(name_of(*fault), name);
    const auto text = describe(*fault, NodeId::kB);
    EXPECT_THAT(text, testing::Not(testing::HasSubstr("{")));
    EXPECT_FALSE(text.empty());
  }
  EXPECT_EQ(fault_of("bad luck"), std::nullopt);
  EXPECT_EQ(fault_of(""), std::nullopt);
  EXPECT_EQ(fault_of("nic"), Fault::kServiceNicGone);
  EXPECT_EQ(fault_of("freeze"), Fault::kDaemonStop);
  EXPECT_EQ(fault_of("partition"), Fault::kLinksCut);
}

TEST(Fault, WhatIsAMatterOfDetectionEndsInHow) {
  std::size_t count = 0;
  for (const auto& name : fault_names()) {
    if (!detection_of(fault_of(name).value())) continue;
    ++count;
    EXPECT_THAT(name, testing::MatchesRegex(".*-(gone|eio|hang|blackhole|corrupt|slow|oops|stop|cut)$"));
  }
  EXPECT_GE(count, 12U);
}

TEST(Fault, AStruckSecondaryNeverGetsTheGuest) {
  for (const auto& name : fault_names()) {
    const Fault fault = fault_of(name).value();
    EXPECT_NE(guest_then(fault, NodeId::kB), GuestThen::kMoves) << name;
  }
  EXPECT_EQ(guest_then(Fault::kStorageEio, NodeId::kA), GuestThen::kMoves);
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
