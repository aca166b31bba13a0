// The guest's own ends on the daemon's way: the machine's event, the restart policy, the epoch that holds the end, and the start after it.
#include <filesystem>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "guest_side_fixture.h"

namespace understudy::test {
namespace {

using testing::HasSubstr;

constexpr Term kFirst{1};
constexpr Term kSecond{2};

std::string endpoint() {
  static int number = 0;
  return "ipc://" +
         (std::filesystem::temp_directory_path() / ("understudy-side-" + std::to_string(::getpid()) + "-" + std::to_string(++number)))
             .string();
}

// Reboots whatever ends, and takes each reset for a guest that does not come up.
RestartConfig rebooting() {
  RestartConfig restart;
  restart.max_crashes = 2;
  restart.crash_window = std::chrono::hours{10};
  restart.boot_takes = std::chrono::hours{10};
  return restart;
}

TEST(GuestSide, AGuestThatPowersOffIsOverUntilItIsStarted) {
  const auto side = Side::create(NodeId::kA, hello_guest(), rebooting(), endpoint());
  ASSERT_NE(side, nullptr);
  side->order([](GuestSide& guest) { guest.boot_guest(kFirst); });
  for (int boot = 1; boot <= 3; ++boot) {
    const auto running = side->reports.wait<input::GuestRunning>();
    ASSERT_TRUE(running.has_value()) << boot;
    EXPECT_EQ(running->term, kFirst);
    const auto stopped = side->reports.wait_stopped();
    ASSERT_TRUE(stopped.has_value()) << boot;
    EXPECT_THAT(stopped->ended, testing::StartsWith("the guest powered off at "));
    EXPECT_EQ(side->guest(), stopped->ended);
    EXPECT_EQ(side->serial().size(), static_cast<std::size_t>(boot) * std::string_view{"hello\n"}.size());
    const auto pressed = side->press_power_button();
    ASSERT_FALSE(pressed);
    EXPECT_THAT(pressed.error().text(), HasSubstr("has just ended by itself"));
    if (boot < 3) side->order([](GuestSide& guest) { guest.restart_guest(kFirst); });
  }
}

struct EndCase {
  const char* name;
  std::span<const std::byte> (*kernel)();
  OnEnd on_reset;
  OnEnd on_crash;
  unsigned reboots;
  const char* note;   // of each reboot
  const char* ended;  // then
};
class GuestSideEnd : public testing::TestWithParam<EndCase> {};

TEST_P(GuestSideEnd, IsDealtWithAsConfigured) {
  const EndCase& one = GetParam();
  RestartConfig restart = rebooting();
  restart.on_reset = one.on_reset;
  restart.on_crash = one.on_crash;
  const auto side = Side::create(NodeId::kA, one.kernel(), restart, endpoint());
  ASSERT_NE(side, nullptr);
  side->order([](GuestSide& guest) { guest.boot_guest(kFirst); });
  for (unsigned reboot = 1; reboot <= one.reboots; ++reboot) {
    const auto noted = side->reports.wait<input::GuestNoted>();
    ASSERT_TRUE(noted.has_value()) << reboot;
    EXPECT_THAT(noted->text, testing::AllOf(HasSubstr(one.note), HasSubstr("was rebooted (reboot " + std::to_string(reboot) + " here)")));
  }
  const auto stopped = side->reports.wait_stopped();
  ASSERT_TRUE(stopped.has_value());
  EXPECT_THAT(stopped->ended, HasSubstr(one.ended));
}

const EndCase kEndCases[] = {
    {"resets_in_a_loop", reset_guest, OnEnd::kReboot, OnEnd::kStop, 2, "the guest reset itself at ",
     "stays down: it was restarted 2 times"},
    {"reset_stops", reset_guest, OnEnd::kStop, OnEnd::kReboot, 0, "", "the guest reset itself at "},
    {"crashes_in_a_loop", triple_fault_guest, OnEnd::kStop, OnEnd::kReboot, 2, "the guest crashed (triple fault) at ",
     "stays down: it was restarted 2 times"},
    {"crash_stops", triple_fault_guest, OnEnd::kReboot, OnEnd::kStop, 0, "", "stays down: [vm] on_crash says so"},
    {"resets_then_powers_off", boot_counting_guest, OnEnd::kReboot, OnEnd::kStop, 2, "the guest reset itself at ",
     "the guest powered off at "},
};
INSTANTIATE_TEST_SUITE_P(All, GuestSideEnd, testing::ValuesIn(kEndCases), [](const auto& one) { return std::string{one.param.name}; });

// Both nodes' sides over a real link; the guest of A listens to its power button, and powers off at the second press.
class GuestSidePair : public testing::Test {
 protected:
  void SetUp() override {
    const std::string link = endpoint();
    a_ = Side::create(NodeId::kA, power_button_guest(), rebooting(), link);
    b_ = Side::create(NodeId::kB, power_button_guest(), rebooting(), link);
    ASSERT_TRUE(a_ && b_);
    b_->order([](GuestSide& guest) { guest.accept_sessions({.floor = kFirst}); });
    a_->order([](GuestSide& guest) { guest.boot_guest(kFirst); });
    ASSERT_TRUE(a_->reports.wait<input::GuestRunning>().has_value());
    a_->order([peer = b_->self()](GuestSide& guest) { guest.start_session({.term = kFirst, .peer = peer, .base = {}}); });
    ASSERT_TRUE(a_->reports.wait_committed(false).has_value());
    ASSERT_TRUE(b_->reports.wait_committed(false).has_value());
  }
  // Pressed until it is off: one press may come before the guest listens, and two that it has not looked at between are one.
  static std::string power_off(Side& side) {
    const auto deadline = std::chrono::steady_clock::now() + kLong;
    while (std::chrono::steady_clock::now() < deadline) {
      static_cast<void>(side.press_power_button());  // refused once it is off, which is then reported
      if (const auto stopped = side.reports.wait_stopped(std::chrono::milliseconds{20})) return stopped->ended;
    }
    return "it did not power off";
  }

  std::unique_ptr<Side> a_;
  std::unique_ptr<Side> b_;
};

TEST_F(GuestSidePair, TheEndIsInAnEpochOfBothAndAStartIsToo) {
  for (int round = 0; round < 2; ++round) {
    const std::string ended = power_off(*a_);
    ASSERT_THAT(ended, testing::StartsWith("the guest powered off at "));
    for (Side* const side : {a_.get(), b_.get()}) {
      const auto committed = side->reports.wait_committed(true);
      ASSERT_TRUE(committed.has_value());
      EXPECT_EQ(committed->ended, ended);
    }
    a_->order([](GuestSide& guest) { guest.restart_guest(kFirst); });
    ASSERT_TRUE(b_->reports.wait_committed(false).has_value()) << "the guest that was started is protected";
  }
}

TEST_F(GuestSidePair, ATakeoverRevivesNoGuestThatIsOverAndAStartBootsIt) {
  const std::string ended = power_off(*a_);
  ASSERT_TRUE(b_->reports.wait_committed(true).has_value());
  a_.reset();
  b_->order([](GuestSide& guest) { guest.take_over({.term = kSecond}); });
  const auto stopped = b_->reports.wait_stopped();
  ASSERT_TRUE(stopped.has_value());
  EXPECT_EQ(stopped->ended, ended);
  b_->order([](GuestSide& guest) { guest.restart_guest(kSecond); });
  ASSERT_TRUE(b_->reports.wait<input::GuestRunning>().has_value());
  EXPECT_THAT(power_off(*b_), testing::StartsWith("the guest powered off at "));
}

TEST_F(GuestSidePair, AStartAtTheSecondaryBootsInsteadOfRestoring) {
  power_off(*a_);
  ASSERT_TRUE(b_->reports.wait_committed(true).has_value());
  a_.reset();
  b_->order([](GuestSide& guest) { guest.take_over({.term = kSecond, .start = true}); });
  const auto running = b_->reports.wait<input::GuestRunning>();
  ASSERT_TRUE(running.has_value());
  EXPECT_EQ(running->term, kSecond);
  EXPECT_THAT(power_off(*b_), testing::StartsWith("the guest powered off at "));
}

}  // namespace
}  // namespace understudy::test
