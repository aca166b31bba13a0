// The guest's kernel log out of the daemon's: what is a complaint, and whether all of it is there.
#include "tests/lab/kernel_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::lab {
namespace {

std::string logged(std::initializer_list<const char*> lines) {
  std::string text;
  for (const char* const line : lines)
    text += std::string{"2026-01-01T00:00:00.000000+00:00 info serial pair=lab node=b role=solo term=2 epoch=7 line=\""} + line + "\"\n";
  return text;
}

TEST(KernelLog, OrdinaryWordsAreNoComplaint) {
  const auto findings = read_kernel_log("2026-01-01T00:00:00.000000+00:00 warning guest ended line=\"guest: at rest\"\n" +
                                        logged({"guest: services started", "guest: powering off", "guest: kernel log has 2 lines",
                                                "guest: kernel log: <6>[    3.500000] EXT4-fs (vda): re-mounted r/w",
                                                "guest: kernel log: <12>[    9.1] guest: mark again", "guest: at rest"}));
  EXPECT_TRUE(findings.whole);
  EXPECT_TRUE(findings.at_rest);
  EXPECT_EQ(findings.lines, 2U);
  EXPECT_THAT(findings.complaints, testing::IsEmpty());
}

TEST(KernelLog, WarningsAndWordsOfTimeAreComplaints) {
  const auto findings = read_kernel_log(logged({
      "guest: kernel log has 4 lines",
      "guest: kernel log: <4>[   20.1] hrtimer: interrupt took 408801714 ns",
      "guest: kernel log: <0>[   21.1] watchdog: BUG: soft lockup - CPU#1 stuck for 22s!",
      "guest: kernel log: <6>[   22.1] clocksource: Switched to clocksource refined-jiffies",
      "guest: kernel log: something else",
  }));
  EXPECT_EQ(findings.complaints.size(), 4U);
  EXPECT_FALSE(findings.at_rest);
}

TEST(KernelLog, ASlowHostIsNoLeapOfTheClock) {
  for (const auto& [line, complaints] : {std::pair{"<4>[   55.131346] hrtimer: interrupt took 30756702 ns", 0U},
                                         std::pair{"<4>[   55.131346] hrtimer: interrupt took 250000000 ns", 1U},
                                         std::pair{"<4>[   55.131346] hrtimer: interrupt took ns", 1U},
                                         std::pair{"<4>[   55.131346] hrtimer: interrupt took 3 ns or more", 1U}})
    EXPECT_EQ(read_kernel_log(logged({("guest: kernel log: " + std::string{line}).c_str()})).complaints.size(), complaints) << line;
}

TEST(KernelLog, ALineThatIsMissingMakesItLessThanWhole) {
  EXPECT_FALSE(read_kernel_log(logged({"guest: kernel log has 2 lines", "guest: kernel log: <6>[ 3.5] x"})).whole);
  EXPECT_FALSE(read_kernel_log(logged({"guest: kernel log: <6>[ 3.5] x"})).whole);
  EXPECT_FALSE(read_kernel_log("").whole);
  EXPECT_TRUE(read_kernel_log(logged({"guest: kernel log has 0 lines"})).whole);
}

}  // namespace
}  // namespace understudy::lab
