#include "replication/scrub.h"

#include <gtest/gtest.h>

#include "session_fixture.h"

namespace understudy {
namespace {

CommittedEpoch epoch(std::uint64_t number) { return {Term{3}, Epoch{number}}; }

// Sends what is due and answers it; how many pages that were.
std::size_t go_on(Scrub& scrub, Instant now, std::uint64_t number, std::optional<ScrubReport>* report = nullptr,
                  std::vector<PageIndex> differing = {}) {
  const Scrub::Run run = scrub.due(now);
  if (run.count == 0) return 0;
  scrub.sent(run, epoch(number), now);
  auto answered = scrub.answered(run.first, run.count, differing, false);
  EXPECT_TRUE(answered) << answered.error().text();
  if (report && answered) *report = *answered;
  return run.count;
}

TEST(Scrub, ComparesAtItsPace) {
  Scrub scrub{{.pages_per_second = 1000}, 100'000};
  EXPECT_EQ(scrub.due(Instant{}).count, 0U);
  EXPECT_EQ(go_on(scrub, Instant{} + 20ms, 1), 20U);
  EXPECT_EQ(go_on(scrub, Instant{} + 30ms, 2), 10U);
  // No hurry after a pause, however long.
  EXPECT_EQ(go_on(scrub, Instant{} + 1h, 3), 200U);
  Scrub none{{.pages_per_second = 0}, 100};
  EXPECT_EQ(none.due(Instant{} + 1h).count, 0U);
}

TEST(Scrub, AVerificationComparesEachPageOnceAndSaysWhere) {
  Scrub scrub{{.pages_per_second = 0, .verify_pages_per_epoch = 40}, 100};
  scrub.verify();
  std::optional<ScrubReport> report;
  EXPECT_EQ(go_on(scrub, Instant{}, 7, &report), 40U);
  EXPECT_EQ(go_on(scrub, Instant{}, 8, &report, {PageIndex{41}, PageIndex{79}}), 40U);
  EXPECT_FALSE(report);
  EXPECT_EQ(go_on(scrub, Instant{}, 9, &report), 20U);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->from, epoch(7));
  EXPECT_EQ(report->to, epoch(9));
  EXPECT_EQ(report->pages, 100U);
  EXPECT_EQ(report->differing, 2U);
  EXPECT_EQ(report->examples, (std::vector{PageIndex{41}, PageIndex{79}}));
  EXPECT_FALSE(scrub.verifying());
  EXPECT_EQ(scrub.due(Instant{}).count, 0U);
}

TEST(Scrub, WaitsForAnswersAndAsksAgainWhatWasNotAnswered) {
  Scrub scrub{{.pages_per_second = 0, .verify_pages_per_epoch = 10, .max_unanswered = 2}, 100};
  scrub.verify();
  const Scrub::Run first = scrub.due(Instant{});
  scrub.sent(first, epoch(1), Instant{});
  const Scrub::Run second = scrub.due(Instant{});
  EXPECT_EQ(second.first, PageIndex{10});
  scrub.sent(second, epoch(2), Instant{});
  EXPECT_EQ(scrub.due(Instant{}).count, 0U);
  ASSERT_TRUE(scrub.answered(first.first, first.count, {}, false));
  scrub.interrupted();
  EXPECT_EQ(scrub.due(Instant{}).first, second.first);
}

TEST(Scrub, AnAnswerOfAPassThatWasGivenUpCountsForNone) {
  Scrub scrub{{.pages_per_second = 0, .verify_pages_per_epoch = 60}, 100};
  scrub.verify();
  const Scrub::Run old = scrub.due(Instant{});
  scrub.sent(old, epoch(1), Instant{});
  scrub.verify();
  const Scrub::Run anew = scrub.due(Instant{});
  EXPECT_EQ(anew.first, PageIndex{0});
  scrub.sent(anew, epoch(2), Instant{});
  ASSERT_TRUE(scrub.answered(old.first, old.count, std::vector{PageIndex{3}}, false));
  ASSERT_TRUE(scrub.answered(anew.first, anew.count, {}, false));
  std::optional<ScrubReport> report;
  EXPECT_EQ(go_on(scrub, Instant{}, 3, &report), 40U);
  ASSERT_TRUE(report);
  EXPECT_EQ(report->from, epoch(2));
  EXPECT_EQ(report->differing, 0U);
  EXPECT_EQ(scrub.stats().differing, 1U);
}

TEST(Scrub, RefusesAnswersToNoQuestion) {
  Scrub scrub{{.pages_per_second = 0, .verify_pages_per_epoch = 10}, 100};
  EXPECT_FALSE(scrub.answered(PageIndex{0}, 10, {}, false));
  scrub.verify();
  const Scrub::Run run = scrub.due(Instant{});
  scrub.sent(run, epoch(1), Instant{});
  EXPECT_FALSE(scrub.answered(run.first, run.count + 1, {}, false));
  EXPECT_FALSE(scrub.answered(run.first, run.count, std::vector{PageIndex{10}}, false));
  EXPECT_TRUE(scrub.answered(run.first, run.count, std::vector{PageIndex{9}}, false));
}

using VerifyTest = SessionTest;

TEST_F(VerifyTest, IsRefusedWithoutAWholeImage) {
  EXPECT_FALSE(primary->verify());
  protect();
  EXPECT_TRUE(primary->verify());
}

TEST_F(VerifyTest, FindsAllTheSameWhileTheGuestWrites) {
  config.scrub = {.pages_per_second = 0, .verify_pages_per_epoch = 100};
  build();
  protect();
  machine_a->give_back(PageIndex{17});
  ASSERT_TRUE(primary->verify());
  for (std::uint64_t i = 0; i < 400 && primary_log.scrubs.empty(); ++i) {
    machine_a->guest_write_u64((i * 38 % kPages) * kPageSizeBytes, i + 1);
    step();
  }
  ASSERT_EQ(primary_log.scrubs.size(), 1U);
  const auto& [report, verification] = primary_log.scrubs.front();
  EXPECT_TRUE(verification);
  EXPECT_EQ(report.pages, kPages);
  EXPECT_EQ(report.differing, 0U);
  EXPECT_FALSE(report.state_differed);
  EXPECT_EQ(secondary->stats().pages_compared, kPages);
  // To be compared costs no memory on either side.
  EXPECT_FALSE(machine_a->holds(PageIndex{17}));
  EXPECT_FALSE(machine_b->holds(PageIndex{17}));
}

TEST_F(VerifyTest, NamesThePageThatIsNotTheSameAndMendsIt) {
  config.scrub = {.pages_per_second = 0, .verify_pages_per_epoch = 512};
  build();
  protect();
  machine_b->page_for_writing(PageIndex{300})[99] ^= std::byte{1};
  ASSERT_TRUE(primary->verify());
  run(150ms);
  ASSERT_EQ(primary_log.scrubs.size(), 1U);
  EXPECT_EQ(primary_log.scrubs.front().first.differing, 1U);
  EXPECT_EQ(primary_log.scrubs.front().first.examples, std::vector{PageIndex{300}});
  EXPECT_EQ(primary_log.differing, std::vector{PageIndex{300}});
  EXPECT_TRUE(images_equal());
  ASSERT_TRUE(primary->verify());
  run(150ms);
  ASSERT_EQ(primary_log.scrubs.size(), 2U);
  EXPECT_EQ(primary_log.scrubs.back().first.differing, 0U);
}

// What no record of what was sent could show: the guest's write was never reported.
TEST_F(VerifyTest, TheScrubFindsAWriteThatNobodyReported) {
  config.scrub = {.pages_per_second = 10'000};
  build();
  protect();
  ASSERT_TRUE(machine_a->stop_tracking());
  machine_a->guest_write_u64(200 * kPageSizeBytes, 0xBAD);
  ASSERT_TRUE(machine_a->start_tracking());
  run(400ms);
  EXPECT_EQ(primary_log.differing, std::vector{PageIndex{200}});
  EXPECT_TRUE(images_equal());
}

TEST_F(VerifyTest, EndsUntoldWithItsSession) {
  config.scrub = {.pages_per_second = 0, .verify_pages_per_epoch = 10};
  build();
  protect();
  ASSERT_TRUE(primary->verify());
  run(100ms);
  EXPECT_TRUE(primary->verifying());
  primary->stop(clock.now());
  EXPECT_FALSE(primary->verifying());
  EXPECT_TRUE(primary_log.scrubs.empty());
}

TEST_F(VerifyTest, ASecondaryRefusesQuestionsThatItCannotAnswer) {
  protect();
  const auto ask = [&](Epoch at, PageIndex first, std::size_t count) {
    const Envelope envelope{.kind = kind::kCheckPages,
                            .pair = kPair,
                            .sender = NodeId::kA,
                            .incarnation = kPrimaryIncarnation,
                            .term = kTerm,
                            .session = secondary_log.ups.back(),
                            .epoch = at};
    const CheckPages question{.pages = {.first = first, .hashes = std::vector<std::uint64_t>(count)}, .state_hash = 0};
    secondary->receive(*decode(encode(envelope, to_bytes(question)), kPair), clock.now());
  };
  ask(secondary->committed().epoch, PageIndex{kPages - 4}, 4);
  EXPECT_TRUE(secondary_log.broken.empty());
  ask(secondary->committed().epoch, PageIndex{kPages - 4}, 5);
  EXPECT_EQ(secondary_log.broken.size(), 1U);
}

}  // namespace
}  // namespace understudy
