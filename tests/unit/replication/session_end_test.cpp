// A guest that ends by itself under a session: over at an epoch's end, or started anew between two epochs.
#include <gmock/gmock.h>

#include "session_fixture.h"

namespace understudy {
namespace {

using ::testing::HasSubstr;

constexpr const char* kOff = "the guest powered off at noon";

class SessionEndTest : public SessionTest {
 protected:
  // As the daemon does when the machine reports it.
  void power_off() {
    machine_a->end_guest();
    machine_a->accept_end(kOff);
    primary->guest_ended(clock.now());
  }
  void reboot(std::uint64_t word) {
    machine_a->end_guest();
    machine_a->reboot(word);
    ASSERT_TRUE(primary->resume_rebooted(clock.now()));
  }
};

TEST_F(SessionEndTest, AnEndIsPartOfItsEpochAndOutputBeforeItLeavesWithIt) {
  protect();
  run(30ms);
  machine_a->guest_write_u64(0, 4711);
  ASSERT_TRUE(send_frame(1));
  links_move = false;
  power_off();
  run(10ms);
  EXPECT_TRUE(port.sent().empty());
  EXPECT_EQ(secondary_log.ended, "");
  links_move = true;
  run(10ms);
  EXPECT_EQ(port.sent().size(), 1U);
  EXPECT_EQ(secondary_log.ended, kOff);
  EXPECT_TRUE(primary_log.reports.back().ended);
  EXPECT_TRUE(images_equal());
  const auto image = secondary->prepare_takeover();
  ASSERT_TRUE(image);
  EXPECT_EQ(image->ended, kOff);
}

TEST_F(SessionEndTest, AnEndComesAtOnceAndItsEpochsGoOn) {
  config.pacing.longest = 500ms;
  build();
  protect();
  power_off();
  run(5ms);
  EXPECT_EQ(secondary_log.ended, kOff) << "long before the interval is over";
  const std::size_t committed = secondary_log.committed.size();
  run(1200ms);
  EXPECT_GT(secondary_log.committed.size(), committed) << "a sign of progress";
  EXPECT_EQ(secondary_log.ended, kOff);
  EXPECT_FALSE(machine_a->running());
}

TEST_F(SessionEndTest, APeerThatComesLaterHearsOfItToo) {
  machine_a->end_guest();
  machine_a->accept_end(kOff);
  protect();
  EXPECT_EQ(secondary_log.ended, kOff);
  EXPECT_TRUE(images_equal());
}

TEST_F(SessionEndTest, ABrokenSessionTellsItInTheNext) {
  protect();
  links_move = false;
  power_off();
  run(50ms);
  primary->stop(clock.now());
  links->a.queue().clear();
  links->b.queue().clear();
  links_move = true;
  start(Session{2});
  run(50ms);
  EXPECT_EQ(primary_log.ups.back().full, false);
  EXPECT_EQ(secondary_log.ended, kOff);
}

TEST_F(SessionEndTest, AnEndThatIsNotAcceptedYetIsInNoEpoch) {
  protect();
  run(30ms);
  const auto committed = secondary->committed();
  machine_a->end_guest();
  run(200ms);
  EXPECT_EQ(secondary->committed().epoch, committed.epoch);
  EXPECT_TRUE(primary->is_up());
}

TEST_F(SessionEndTest, ARebootedGuestRunsAtAnEpochsBoundary) {
  protect();
  run(30ms);
  machine_a->set_counter(7);
  ASSERT_TRUE(send_frame(1));
  const Epoch of_the_old = gate->open_epoch();
  links_move = false;
  reboot(99);
  EXPECT_TRUE(machine_a->running()) << "there was room";
  EXPECT_GT(gate->open_epoch(), of_the_old) << "what the new guest sends is of the next epoch";
  run(5ms);
  EXPECT_TRUE(port.sent().empty());
  links_move = true;
  run(10ms);
  EXPECT_EQ(port.sent().size(), 1U);
  EXPECT_TRUE(images_equal());
  EXPECT_EQ(machine_b->read_u64(0), 99U);
  const auto image = secondary->prepare_takeover();
  ASSERT_TRUE(image);
  EXPECT_EQ(image->ended, "");
  ASSERT_TRUE(machine_b->restore(image->state.bytes));
  EXPECT_EQ(machine_b->counter(), 0U) << "the machine as it was booted";
}

TEST_F(SessionEndTest, WithoutRoomARebootedGuestStandsUntilItsEpochEnds) {
  protect();
  run(30ms);
  links_move = false;
  run(300ms);  // the window is full
  reboot(99);
  run(20ms);
  EXPECT_FALSE(machine_a->running());
  links_move = true;
  run(20ms);
  EXPECT_TRUE(machine_a->running());
  run(40ms);
  EXPECT_TRUE(images_equal());
}

TEST_F(SessionEndTest, ARebootedGuestNeverWaitsForAPeerThatIsGone) {
  protect();
  run(30ms);
  links_move = false;
  run(300ms);
  reboot(99);
  EXPECT_FALSE(machine_a->running());
  run(2000ms);  // the session breaks for want of acks
  EXPECT_FALSE(primary->is_up());
  EXPECT_TRUE(machine_a->running());
}

TEST_F(SessionEndTest, OutsideOfEpochsARebootedGuestRunsAtOnce) {
  machine_a->end_guest();
  machine_a->reboot(5);
  ASSERT_TRUE(primary->resume_rebooted(clock.now()));
  EXPECT_TRUE(machine_a->running());
  protect();
  EXPECT_TRUE(images_equal());
}

TEST_F(SessionEndTest, AnEndedGuestMayBeStartedAgain) {
  protect();
  power_off();
  run(20ms);
  ASSERT_EQ(secondary_log.ended, kOff);
  machine_a->reboot(3);
  ASSERT_TRUE(primary->resume_rebooted(clock.now()));
  run(20ms);
  EXPECT_TRUE(machine_a->running());
  EXPECT_EQ(secondary_log.ended, "");
  run(40ms);
  EXPECT_TRUE(images_equal());
}

TEST_F(SessionEndTest, ThereIsNothingToHandOver) {
  protect();
  power_off();
  primary->final_epoch(clock.now());
  ASSERT_FALSE(primary_log.final_failed.empty());
  EXPECT_THAT(primary_log.final_failed.back(), HasSubstr(kOff));
}

}  // namespace
}  // namespace understudy
