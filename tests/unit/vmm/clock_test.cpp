// The clocks of two real hosts: booted at different times, of one frequency, of nearly one, of two.
#include <gtest/gtest.h>

#include "vmm/clock_restore.h"

namespace understudy {
namespace {

constexpr std::uint64_t kKhz = 2'600'000;
constexpr std::uint64_t kDay = kKhz * 1000 * 86'400;  // in TSC cycles

TEST(ClockRestore, TheTscGoesOnWhateverTheHostsReadAlready) {
  struct Case {
    const char* name;
    std::uint64_t old_host;
    std::uint64_t new_host;
    std::uint64_t guest;
  };
  const Case cases[] = {
      {"the new host was booted long before", 3 * kDay, 200 * kDay, kDay},
      {"the new host was booted just now", 200 * kDay, kKhz, 150 * kDay},
      {"the same host", 5 * kDay, 5 * kDay + kKhz * 40, 5 * kDay - 1},
      {"a guest older than both hosts", kDay, 2 * kDay, 1000 * kDay},
      {"the host's counter is near its end", 7, ~0ULL - 5, 100},
      {"the guest's counter is near its end", 7, 1000, ~0ULL - 5},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const SavedClock saved{.guest_tsc = c.guest, .kvmclock_ns = 1, .host_tsc = c.old_host, .guest_tsc_khz = kKhz};
    const std::uint64_t offset = plan_tsc_offset(saved, c.new_host, saved.kvmclock_ns);
    // What the processor gives the guest: at the restore exactly the saved value, and from then on one for one.
    EXPECT_EQ(c.new_host + offset, c.guest);
    EXPECT_EQ(c.new_host + 12'345 + offset, c.guest + 12'345);
  }
}

// kvmclock was set first, and goes on while the TSC's offset is found: the guest compares the two.
TEST(ClockRestore, TheTscStaysInStepWithKvmclock) {
  const SavedClock saved{.guest_tsc = 77 * kDay, .kvmclock_ns = 5'000'000'000, .guest_tsc_khz = kKhz};
  struct Case {
    std::uint64_t passed_ns;
    std::uint64_t cycles;
  };
  for (const Case& c : {Case{0, 0}, Case{1'000, 2'600}, Case{1'000'000'000, 2'600'000'000}, Case{86'400'000'000'000, kDay}}) {
    const std::uint64_t raw = 3 * kDay;
    EXPECT_EQ(raw + plan_tsc_offset(saved, raw, saved.kvmclock_ns + c.passed_ns), saved.guest_tsc + c.cycles) << c.passed_ns;
  }
  EXPECT_EQ(9 + plan_tsc_offset(saved, 9, saved.kvmclock_ns - 1), saved.guest_tsc) << "the TSC never goes back";
}

TEST(ClockRestore, ADeadlineStaysAsFarAhead) {
  const SavedClock saved{.guest_tsc = 5 * kDay, .guest_tsc_khz = kKhz};
  EXPECT_EQ(plan_tsc_deadline(saved, 5 * kDay + 1000, 5 * kDay), 5 * kDay + 1000) << "the TSC goes on: nothing to do";
  EXPECT_EQ(plan_tsc_deadline(saved, 5 * kDay + 1000, kDay), kDay + 1000) << "a younger host that ignores offsets";
  EXPECT_EQ(plan_tsc_deadline(saved, 5 * kDay - 7, 9 * kDay), 9 * kDay - 7) << "overdue at the save";
  EXPECT_EQ(plan_tsc_deadline(saved, 0, 9 * kDay), 0U) << "not armed";
  EXPECT_EQ(plan_tsc_deadline(saved, 4 * kDay, kDay), 1U) << "never disarmed by chance";
}

TEST(ClockRestore, FrequenciesWithinTheToleranceNeedNoScaling) {
  const SavedClock saved{.guest_tsc_khz = kKhz};
  for (const std::uint64_t host : {kKhz, kKhz + 1, kKhz - 1, kKhz + 649, kKhz - 649}) {
    const auto frequency = plan_frequency(saved, {.khz = host, .scalable = false});
    ASSERT_TRUE(frequency.has_value()) << frequency.error().text();
    EXPECT_FALSE(frequency->has_value()) << host;
  }
}

TEST(ClockRestore, AnotherFrequencyIsScaledOrRefusedWithBoth) {
  const SavedClock saved{.guest_tsc_khz = kKhz};
  for (const std::uint64_t host : {kKhz + 700, kKhz - 700, kKhz / 2, kKhz * 2, std::uint64_t{1}}) {
    const auto scaled = plan_frequency(saved, {.khz = host, .scalable = true});
    ASSERT_TRUE(scaled.has_value());
    EXPECT_EQ(*scaled, std::optional{kKhz});
    const auto refused = plan_frequency(saved, {.khz = host, .scalable = false});
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code(), ErrorCode::kRefused);
    EXPECT_NE(refused.error().text().find("2600000 kHz"), std::string::npos) << refused.error().text();
    EXPECT_NE(refused.error().text().find(std::to_string(host) + " kHz"), std::string::npos) << refused.error().text();
  }
}

TEST(ClockRestore, AFrequencyOfZeroIsDamage) {
  const auto refused = plan_frequency({}, {.khz = kKhz, .scalable = true});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), ErrorCode::kCorrupt);
}

TEST(ClockRestore, HugeFrequenciesDoNotOverflow) {
  EXPECT_FALSE(tsc_frequency_matches(~0ULL, 1));
  EXPECT_FALSE(tsc_frequency_matches(1, ~0ULL));
  EXPECT_TRUE(tsc_frequency_matches(~0ULL, ~0ULL));
}

}  // namespace
}  // namespace understudy
