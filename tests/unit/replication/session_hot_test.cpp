// Hot pages in a session: they travel when they changed, and only what the peer holds is built upon.
#include "session_fixture.h"

namespace understudy {
namespace {

class SessionHotTest : public SessionTest {};

TEST_F(SessionHotTest, AHotPageTravelsOnlyWhenItChanged) {
  protect();
  for (std::uint64_t value = 1; value < 10; ++value) {
    machine_a->guest_write_u64(5 * kPageSizeBytes, value);
    machine_a->guest_write_u64(6 * kPageSizeBytes, value);
    run(config.pacing.longest + 2ms);
  }
  EXPECT_EQ(machine_a->hot_pages(), 2U);
  EXPECT_EQ(primary_log.reports.back().changed_pages, 2U);
  machine_a->guest_write_u64(5 * kPageSizeBytes, 1000);
  run(config.pacing.longest + 2ms);
  EXPECT_EQ(primary_log.reports.back().dirty_pages, 2U);
  EXPECT_EQ(primary_log.reports.back().changed_pages, 1U);
  EXPECT_TRUE(images_equal());
  primary->forget();
  EXPECT_EQ(machine_a->hot_pages(), 0U);
}

// What was sent last counts only where it arrived: a page that is as it was in a lost epoch is no unchanged page.
TEST_F(SessionHotTest, ALostEpochIsNothingToBuildUpon) {
  protect();
  const auto hot_epoch = [&](std::uint64_t value) {
    for (std::size_t page = 0; page < 8; ++page) machine_a->guest_write_u64(page * kPageSizeBytes, value);
    run(30ms);
  };
  for (std::uint64_t value = 1; value < 6; ++value) hot_epoch(value);
  ASSERT_GE(machine_a->hot_pages(), 8U);
  ASSERT_TRUE(images_equal());
  links->a.set_cut(true);
  hot_epoch(77);  // sent, and lost
  links->a.set_cut(false);
  primary->stop(clock.now());
  start(Session{2});
  run(100ms);
  EXPECT_EQ(primary->stats().catch_ups, 1U);
  EXPECT_EQ(secondary->stats().corrupt_messages, 0U);
  EXPECT_TRUE(images_equal());
  EXPECT_EQ(machine_b->read_u64(0), 77U);
  hot_epoch(77);
  EXPECT_TRUE(images_equal());
}

// Its content is what was sent last, and yet not what the peer holds.
TEST_F(SessionHotTest, AHotPageThatDiffersOnThePeerIsSentAgain) {
  config.scrub = {.pages_per_second = 0, .verify_pages_per_epoch = 512};
  build();
  protect();
  for (std::uint64_t value = 1; value < 6; ++value) {
    machine_a->guest_write_u64(5 * kPageSizeBytes, value);
    run(config.pacing.longest + 2ms);
  }
  ASSERT_EQ(machine_a->hot_pages(), 1U);
  machine_b->page_for_writing(PageIndex{5})[99] ^= std::byte{1};
  ASSERT_TRUE(primary->verify());
  run(150ms);
  EXPECT_EQ(primary_log.differing, std::vector{PageIndex{5}});
  EXPECT_TRUE(primary_log.broken.empty());
  EXPECT_TRUE(images_equal());
}

}  // namespace
}  // namespace understudy
