// What becomes of a guest that ended by itself, and when a crash loop is over.
#include "failover/daemon/restart_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy {
namespace {

using namespace std::chrono_literals;
using enum MachineEventKind;

constexpr Instant kBoot{std::chrono::hours{1}};

TEST(RestartPolicy, DoesAsConfigured) {
  struct Case {
    const char* name;
    RestartConfig config;
    MachineEventKind how;
    bool reboot;
    const char* why;
  };
  const Case cases[] = {
      {"a power-off is one", {}, kPowerOff, false, ""},
      {"a reset reboots", {}, kReset, true, ""},
      {"a crash reboots", {}, kTripleFault, true, ""},
      {"a panic reboots", {}, kPanic, true, ""},
      {"KVM's failure counts as a crash", {}, kInternalError, true, ""},
      {"a reset that stops", {.on_reset = OnEnd::kStop}, kReset, false, "on_reset"},
      {"a crash that stops", {.on_crash = OnEnd::kStop}, kTripleFault, false, "on_crash"},
      {"KVM's failure that stops", {.on_crash = OnEnd::kStop}, kInternalError, false, "on_crash"},
      {"a panic that stops", {.on_panic = OnEnd::kStop}, kPanic, false, "on_panic"},
      {"no crash is forgiven", {.max_crashes = 0}, kTripleFault, false, "0 times"},
  };
  for (const Case& one : cases) {
    RestartPolicy policy{one.config};
    policy.started(kBoot);
    const auto decision = policy.ended(one.how, kBoot + 1min);
    EXPECT_EQ(decision.reboot, one.reboot) << one.name;
    EXPECT_THAT(decision.why, testing::HasSubstr(one.why)) << one.name;
  }
}

TEST(RestartPolicy, ACrashLoopEnds) {
  RestartPolicy policy{{.max_crashes = 3, .crash_window = 10min}};
  Instant now = kBoot;
  const auto crash = [&](MachineEventKind how, Duration after) {
    policy.started(now);
    now += after;
    return policy.ended(how, now).reboot;
  };
  EXPECT_TRUE(crash(kTripleFault, 1min));
  EXPECT_TRUE(crash(kPanic, 1min));
  EXPECT_TRUE(crash(kTripleFault, 1min));
  EXPECT_TRUE(crash(kReset, 1min)) << "a guest that came up may reset itself as often as it likes";
  EXPECT_FALSE(crash(kTripleFault, 1min)) << "the fourth within ten minutes";
  EXPECT_TRUE(crash(kTripleFault, 9min)) << "the first ones are long ago";
}

TEST(RestartPolicy, AResetBeforeTheGuestIsUpCountsAsACrash) {
  RestartPolicy policy{{.max_crashes = 2}};
  Instant now = kBoot;
  for (int i = 0; i < 2; ++i) {
    policy.started(now);
    now += 1s;
    EXPECT_TRUE(policy.ended(kReset, now).reboot);
  }
  policy.started(now);
  EXPECT_FALSE(policy.ended(kReset, now + 1s).reboot);
}

}  // namespace
}  // namespace understudy
