#include <atomic>
#include <ctime>
#include <poll.h>

#include <capnp/message.h>
#include <gtest/gtest.h>

#include "tests/unit/vmm/device_rig.h"
#include "vmm/devices/rtc/rtc.h"
#include "vmm/devices/rtc/state.capnp.h"

namespace understudy {
namespace {

using Chip = Mc146818;
constexpr std::int64_t kSecond = 1'000'000'000;
// 2024-02-29 23:59:57 UTC, a Thursday.
constexpr std::int64_t kLeapDay = 1'709'251'197;

struct Written {
  unsigned seconds, minutes, hours, weekday, day, month, year, century;
  friend bool operator==(const Written&, const Written&) = default;
};
Written read_time(Chip& chip, std::int64_t now) {
  const auto get = [&](std::uint8_t index) { return unsigned{chip.read(index, now)}; };
  return {get(Chip::kSeconds), get(Chip::kMinutes), get(Chip::kHours), get(Chip::kWeekday),
          get(Chip::kDay),     get(Chip::kMonth),   get(Chip::kYear),  get(Chip::kCentury)};
}

TEST(Mc146818Test, TellsTheTimeInEveryFormat) {
  Chip chip{kLeapDay * kSecond, 0};
  EXPECT_EQ(read_time(chip, 0), (Written{0x57, 0x59, 0x23, 5, 0x29, 0x02, 0x24, 0x20}));
  EXPECT_EQ(read_time(chip, 3 * kSecond), (Written{0x00, 0x00, 0x00, 6, 0x01, 0x03, 0x24, 0x20}));
  chip.write(Chip::kB, Chip::kBinary | Chip::kHours24, 3 * kSecond);
  EXPECT_EQ(read_time(chip, 2 * kSecond + kSecond), (Written{0, 0, 0, 6, 1, 3, 24, 20}));
  chip.write(Chip::kB, Chip::kBinary, 4 * kSecond);
  EXPECT_EQ(chip.read(Chip::kHours, 4 * kSecond), 12) << "midnight is 12 AM";
  constexpr std::int64_t kNoon = 12 * 3600 + 3;
  EXPECT_EQ(chip.read(Chip::kHours, kNoon * kSecond), 0x80 | 12);
  chip.write(Chip::kB, 0, kNoon * kSecond);
  EXPECT_EQ(chip.read(Chip::kHours, (kNoon + 11 * 3600) * kSecond), 0x80 | 0x11) << "11 PM, in BCD";
  EXPECT_EQ(chip.read(Chip::kD, 0), Chip::kValid);
}

// What mc146818_set_time() writes, in its order.
void set_like_linux(Chip& chip, const Written& time, std::int64_t now) {
  const std::uint8_t b = chip.read(Chip::kB, now);
  chip.write(Chip::kB, b | Chip::kSet, now);
  const std::uint8_t a = chip.read(Chip::kA, now) & 0x7F;
  chip.write(Chip::kA, a | 0x70, now);
  const auto put = [&](std::uint8_t index, unsigned value) { chip.write(index, static_cast<std::uint8_t>(value), now); };
  put(Chip::kYear, time.year);
  put(Chip::kMonth, time.month);
  put(Chip::kDay, time.day);
  put(Chip::kHours, time.hours);
  put(Chip::kMinutes, time.minutes);
  put(Chip::kSeconds, time.seconds);
  chip.write(Chip::kB, b, now);
  chip.write(Chip::kA, a, now);
}

TEST(Mc146818Test, IsSetAsLinuxSetsIt) {
  Chip chip{kLeapDay * kSecond, 0};
  const std::int64_t now = 100 * kSecond + 7;
  set_like_linux(chip, {0x58, 0x59, 0x23, 0, 0x31, 0x12, 0x29, 0}, now);
  EXPECT_EQ(read_time(chip, now), (Written{0x58, 0x59, 0x23, 2, 0x31, 0x12, 0x29, 0x20}));
  EXPECT_EQ(chip.read(Chip::kSeconds, now + kSecond / 2 - 1), 0x58);
  EXPECT_EQ(chip.read(Chip::kSeconds, now + kSecond / 2), 0x59) << "half a second after the divider runs again";
  EXPECT_EQ(read_time(chip, now + 2 * kSecond), (Written{0x00, 0x00, 0x00, 3, 0x01, 0x01, 0x30, 0x20}));
}

TEST(Mc146818Test, IsHeldBySetAlone) {
  Chip chip{kLeapDay * kSecond + kSecond / 4, 0};
  chip.write(Chip::kB, Chip::kSet | Chip::kHours24, 0);
  EXPECT_EQ(chip.read(Chip::kSeconds, 60 * kSecond), 0x57) << "the registers stand";
  chip.write(Chip::kSeconds, 0x10, 60 * kSecond);
  EXPECT_EQ(chip.read(Chip::kSeconds, 61 * kSecond), 0x10);
  chip.write(Chip::kB, Chip::kHours24, 70 * kSecond);
  EXPECT_EQ(chip.wall_ns(70 * kSecond), (kLeapDay - 47) * kSecond + kSecond / 4) << "the part of a second goes on";
  chip.write(Chip::kMinutes, 0x00, 70 * kSecond);
  EXPECT_EQ(chip.wall_ns(70 * kSecond), (kLeapDay - 47 - 59 * 60) * kSecond + kSecond / 4) << "a register alone may be set as well";
}

TEST(Mc146818Test, WhateverIsWrittenIsSomeTime) {
  Chip chip{kLeapDay * kSecond, 0};
  for (const unsigned byte : {0x00U, 0x7FU, 0x80U, 0xFFU}) {
    chip.write(Chip::kB, Chip::kSet | Chip::kHours24, 0);
    for (const std::uint8_t index : {Chip::kSeconds, Chip::kMinutes, Chip::kHours, Chip::kDay, Chip::kMonth, Chip::kYear, Chip::kCentury})
      chip.write(index, static_cast<std::uint8_t>(byte), 0);
    chip.write(Chip::kB, Chip::kHours24, 0);
    EXPECT_GT(chip.wall_ns(0), Chip::kEarliestNs);
    EXPECT_LT(chip.wall_ns(0), Chip::kLatestNs);
    EXPECT_GE(read_time(chip, 0).month, 1u);
  }
}

TEST(Mc146818Test, SaysThatAnUpdateIsNear) {
  Chip chip{kLeapDay * kSecond, 0};
  const auto near = [&](std::int64_t now) { return (chip.read(Chip::kA, now) & Chip::kUpdateInProgress) != 0; };
  EXPECT_FALSE(near(0));
  EXPECT_FALSE(near(kSecond - 250'000));
  EXPECT_TRUE(near(kSecond - 200'000));
  EXPECT_FALSE(near(kSecond));
  chip.write(Chip::kB, Chip::kSet, 2 * kSecond - 1000);
  EXPECT_FALSE(near(2 * kSecond - 1000)) << "no update comes while the clock is held";
}

TEST(Mc146818Test, FindsTheNextAlarm) {
  struct Case {
    const char* name;
    std::uint8_t hours, minutes, seconds;
    std::int64_t in_seconds;  // from 23:59:57 on
  };
  const Case cases[] = {
      {"in the same minute", 0x23, 0x59, 0x59, 2},
      {"tomorrow", 0x00, 0x00, 0x05, 8},
      {"this second is tomorrow's", 0x23, 0x59, 0x57, 86'400},
      {"every second", 0xFF, 0xFF, 0xFF, 1},
      {"every minute", 0xC0, 0xFF, 0x30, 33},
      {"every hour", 0xFF, 0x10, 0x00, 10 * 60 + 3},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    Chip chip{kLeapDay * kSecond, 0};
    chip.write(Chip::kHoursAlarm, c.hours, 0);
    chip.write(Chip::kMinutesAlarm, c.minutes, 0);
    chip.write(Chip::kSecondsAlarm, c.seconds, 0);
    chip.write(Chip::kB, Chip::kHours24 | Chip::kAlarmEnable, 0);
    ASSERT_EQ(chip.next_event(0), c.in_seconds * kSecond);
    chip.advance(c.in_seconds * kSecond - 1);
    EXPECT_FALSE(chip.interrupt_pending());
    chip.advance(c.in_seconds * kSecond);
    EXPECT_TRUE(chip.interrupt_pending());
    EXPECT_EQ(chip.read(Chip::kC, c.in_seconds * kSecond) & (Chip::kInterrupt | Chip::kAlarm), Chip::kInterrupt | Chip::kAlarm);
  }
  Chip chip{kLeapDay * kSecond, 0};
  chip.write(Chip::kSecondsAlarm, 0x99, 0);
  chip.write(Chip::kB, Chip::kHours24 | Chip::kAlarmEnable, 0);
  EXPECT_EQ(chip.next_event(0), std::nullopt) << "a time that no day has";
}

TEST(Mc146818Test, RaisesTheLineOnceForEachAcknowledgement) {
  Chip chip{kLeapDay * kSecond, 0};
  chip.write(Chip::kB, Chip::kHours24 | Chip::kUpdateEnable, 0);
  ASSERT_EQ(chip.next_event(0), kSecond);
  chip.advance(kSecond);
  EXPECT_TRUE(chip.interrupt_pending());
  EXPECT_EQ(chip.next_event(kSecond), std::nullopt) << "nothing to wait for while the line is up";
  chip.advance(10 * kSecond);
  EXPECT_EQ(chip.read(Chip::kC, 10 * kSecond) & (Chip::kInterrupt | Chip::kUpdate), Chip::kInterrupt | Chip::kUpdate);
  EXPECT_FALSE(chip.interrupt_pending());
  EXPECT_EQ(chip.read(Chip::kC, 10 * kSecond), 0);
  EXPECT_EQ(chip.next_event(10 * kSecond), 11 * kSecond);
}

TEST(Mc146818Test, TicksAtTheRateThatIsSet) {
  Chip chip{kLeapDay * kSecond, 0};
  for (const auto& [rate, hertz] : {std::pair{3, 8192}, {6, 1024}, {15, 2}, {1, 256}, {2, 128}}) {
    chip.write(Chip::kA, static_cast<std::uint8_t>(0x20 | rate), 0);
    chip.write(Chip::kB, Chip::kHours24 | Chip::kPeriodicEnable, 0);
    EXPECT_EQ(chip.next_event(0), kSecond / hertz) << rate;
    chip.write(Chip::kB, Chip::kHours24, 0);
  }
  chip.write(Chip::kA, 0x20, 0);
  chip.write(Chip::kB, Chip::kHours24 | Chip::kPeriodicEnable, 0);
  EXPECT_EQ(chip.next_event(0), std::nullopt) << "rate 0: off";
}

TEST(Mc146818Test, AnEnableThatFindsItsFlagRaisesTheLine) {
  Chip chip{kLeapDay * kSecond, 0};
  chip.advance(5 * kSecond);
  EXPECT_FALSE(chip.interrupt_pending());
  chip.write(Chip::kB, Chip::kHours24 | Chip::kUpdateEnable, 5 * kSecond);
  EXPECT_TRUE(chip.interrupt_pending());
}

TEST(Mc146818Test, TheRamIsKeptAndTellsOfMemory) {
  Chip chip{0, std::uint64_t{512} << 20};
  EXPECT_EQ(chip.read(0x15, 0) | chip.read(0x16, 0) << 8, 640);
  EXPECT_EQ(chip.read(0x30, 0) | chip.read(0x31, 0) << 8, 0xFFFF);
  EXPECT_EQ((chip.read(0x34, 0) | chip.read(0x35, 0) << 8) * 64, (512 - 16) * 1024);
  unsigned sum = 0;
  for (std::uint8_t i = 0x10; i <= 0x2D; ++i) sum += chip.read(i, 0);
  EXPECT_EQ(chip.read(0x2E, 0) << 8 | chip.read(0x2F, 0), static_cast<int>(sum));
  chip.write(0x50, 0xA5, 0);
  chip.write(Chip::kD, 0, 0);
  EXPECT_EQ(chip.read(0x50, 0), 0xA5);
  EXPECT_EQ(chip.read(Chip::kD, 0), Chip::kValid) << "read-only";
}

class RtcTest : public ::testing::Test {
 protected:
  RtcTest() {
    rtc_ = make();
    rig_.on_loop([&] { rtc_->resume(); });
  }
  ~RtcTest() override {
    rig_.on_loop([&] { rtc_->detach(); });
  }
  std::unique_ptr<Rtc> make() {
    return std::move(*Rtc::create("rtc0", rig_.loop(), 0, [this] {
      ++asked_;
      return kLeapDay * kSecond;
    }));
  }
  static std::uint8_t get(Rtc& rtc, std::uint8_t index) {
    const std::byte selected{index};
    rtc.write(0, {&selected, 1});
    std::byte value{};
    rtc.read(1, {&value, 1});
    return std::to_integer<std::uint8_t>(value);
  }
  static void set(Rtc& rtc, std::uint8_t index, std::uint8_t value) {
    const std::byte bytes[] = {std::byte{index}, std::byte{value}};
    rtc.write(0, bytes);
  }
  bool interrupted() {
    pollfd polled{rtc_->interrupt().fd(), POLLIN, 0};
    return ::poll(&polled, 1, 30'000) == 1 && drain_fd(rtc_->interrupt().fd()) > 0;
  }

  DeviceRig rig_;
  std::atomic<int> asked_{0};
  std::unique_ptr<Rtc> rtc_;
};

TEST_F(RtcTest, AFreshGuestBeginsWithTheHostsTime) {
  EXPECT_EQ(asked_, 1);
  EXPECT_EQ(get(*rtc_, Chip::kYear), 0x24);
  rig_.on_loop([&] { ASSERT_TRUE(rtc_->quiesce()); });
  rig_.on_loop([&] { rtc_->resume(); });
  EXPECT_EQ(asked_, 1) << "the host is asked once";
}

TEST_F(RtcTest, TheIndexIsWriteOnlyAndItsUppermostBitMasksNmis) {
  std::byte value{};
  rtc_->read(0, {&value, 1});
  EXPECT_EQ(value, std::byte{0xFF});
  EXPECT_EQ(get(*rtc_, 0x80 | Chip::kYear), 0x24);
}

TEST_F(RtcTest, ThePeriodicInterruptComesByItself) {
  set(*rtc_, Chip::kB, Chip::kHours24 | Chip::kPeriodicEnable);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(interrupted()) << i;
    EXPECT_NE(get(*rtc_, Chip::kC) & Chip::kPeriodic, 0);
  }
}

TEST_F(RtcTest, TheUpdateInterruptComesByItself) {
  set(*rtc_, Chip::kB, Chip::kHours24 | Chip::kUpdateEnable);
  ASSERT_TRUE(interrupted());
  EXPECT_NE(get(*rtc_, Chip::kC) & Chip::kUpdate, 0);
}

TEST_F(RtcTest, ATwinGoesOnFromTheSavedTimeAndRaisesWhatWasPending) {
  set(*rtc_, Chip::kB, Chip::kSet | Chip::kHours24);
  set(*rtc_, Chip::kYear, 0x77);
  set(*rtc_, Chip::kB, Chip::kHours24 | Chip::kPeriodicEnable);
  ASSERT_TRUE(interrupted());
  rig_.on_loop([&] { ASSERT_TRUE(rtc_->quiesce()); });
  capnp::MallocMessageBuilder message;
  rtc_->save(message.initRoot<schema::DeviceState>());
  const auto state = message.getRoot<schema::DeviceState>().asReader();
  const std::int64_t wall = state.getState().getAs<schema::RtcState>().getWallNs();
  auto twin = make();
  ASSERT_TRUE(twin->restore(state));
  rig_.on_loop([&] { rtc_->detach(); });
  rtc_ = std::move(twin);
  rig_.on_loop([&] { rtc_->resume(); });
  EXPECT_EQ(asked_, 1) << "not the new host's time";
  EXPECT_TRUE(interrupted());
  EXPECT_EQ(get(*rtc_, Chip::kYear), 0x77);
  rig_.on_loop([&] { ASSERT_TRUE(rtc_->quiesce()); });
  capnp::MallocMessageBuilder later;
  rtc_->save(later.initRoot<schema::DeviceState>());
  EXPECT_GE(later.getRoot<schema::DeviceState>().asReader().getState().getAs<schema::RtcState>().getWallNs(), wall);
}

TEST_F(RtcTest, RefusesStatesThatNoChipHas) {
  const auto refuses = [&](auto damage) {
    capnp::MallocMessageBuilder message;
    auto out = message.initRoot<schema::DeviceState>();
    const auto fresh = make();
    fresh->save(out);
    damage(out.getState().getAs<schema::RtcState>());
    return !fresh->check(out.asReader()).has_value();
  };
  EXPECT_FALSE(refuses([](schema::RtcState::Builder) {}));
  EXPECT_TRUE(refuses([](schema::RtcState::Builder state) { state.setIndex(0x80); }));
  EXPECT_TRUE(refuses([](schema::RtcState::Builder state) { state.initRegisters(127); }));
  EXPECT_TRUE(refuses([](schema::RtcState::Builder state) { state.setWallNs(INT64_MAX); }));
  EXPECT_TRUE(refuses([](schema::RtcState::Builder state) { state.setWallNs(INT64_MIN); }));
}

}  // namespace
}  // namespace understudy
