#include "vmm/devices/rtc/mc146818.h"

#include <algorithm>
#include <chrono>
#include <limits>

namespace understudy {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kDaySeconds = 86'400;
// UIP is set so long before the time changes (data sheet: "t_BUC").
constexpr std::int64_t kUpdateNotice = 244'000;
// The first update comes so long after the divider leaves its reset (data sheet: "Divider Control").
constexpr std::int64_t kFirstUpdate = kSecond / 2;
constexpr std::uint8_t kDividerRuns32768 = 0x20;
constexpr std::uint8_t kRate1024 = 0x06;
constexpr std::uint8_t kDontCare = 0xC0;
constexpr std::uint8_t kAfternoon = 0x80;
constexpr std::uint8_t kChecksumFirst = 0x10, kChecksumLast = 0x2D, kChecksum = 0x2E;

std::int64_t floor_divide(std::int64_t value, std::int64_t by) { return value / by - (value % by < 0 ? 1 : 0); }

}  // namespace

Mc146818::Mc146818(std::int64_t wall_ns, std::uint64_t memory_bytes) : offset_ns_{wall_ns} {
  registers_[kA] = kDividerRuns32768 | kRate1024;
  registers_[kB] = kHours24;
  registers_[kD] = kValid;
  // What firmware leaves about memory, low byte first: KiB of base memory, KiB above 1 MiB, units of 64 KiB above 16 MiB.
  const auto word = [this](std::size_t at, std::uint64_t value) {
    const auto capped = std::min<std::uint64_t>(value, 0xFFFF);
    registers_[at] = static_cast<std::uint8_t>(capped & 0xFF);
    registers_[at + 1] = static_cast<std::uint8_t>(capped >> 8);
  };
  const auto above = [memory_bytes](std::uint64_t bytes) { return memory_bytes > bytes ? memory_bytes - bytes : 0; };
  constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
  word(0x15, 640);
  word(0x17, above(kMiB) >> 10);
  word(0x30, above(kMiB) >> 10);
  word(0x34, std::min(above(16 * kMiB), 3056 * kMiB) >> 16);  // below the 32-bit hole
  unsigned sum = 0;
  for (std::size_t i = kChecksumFirst; i <= kChecksumLast; ++i) sum += registers_[i];
  registers_[kChecksum] = static_cast<std::uint8_t>(sum >> 8 & 0xFF);
  registers_[kChecksum + 1] = static_cast<std::uint8_t>(sum & 0xFF);
}

std::int64_t Mc146818::wall_ns(std::int64_t now_ns) const { return held() ? held_wall_ns_ : now_ns + offset_ns_; }

std::uint8_t Mc146818::encoded(unsigned value) const {
  if ((registers_[kB] & kBinary) != 0) return static_cast<std::uint8_t>(value);
  return static_cast<std::uint8_t>(value / 10 << 4 | value % 10);
}

unsigned Mc146818::decoded(std::uint8_t value) const {
  if ((registers_[kB] & kBinary) != 0) return value;
  return (value >> 4) * 10U + (value & 0x0F);
}

std::uint8_t Mc146818::encoded_hour(unsigned hour) const {
  if ((registers_[kB] & kHours24) != 0) return encoded(hour);
  const unsigned twelfth = hour % 12 == 0 ? 12 : hour % 12;
  return static_cast<std::uint8_t>(encoded(twelfth) | (hour >= 12 ? kAfternoon : 0));
}

unsigned Mc146818::decoded_hour(std::uint8_t value) const {
  if ((registers_[kB] & kHours24) != 0) return decoded(value);
  return decoded(value & 0x7F) % 12 + ((value & kAfternoon) != 0 ? 12 : 0);
}

void Mc146818::latch(std::int64_t wall_seconds) {
  using namespace std::chrono;
  const sys_days day{days{floor_divide(wall_seconds, kDaySeconds)}};
  const year_month_day date{day};
  const auto of_day = static_cast<unsigned>(wall_seconds - sys_seconds{day}.time_since_epoch().count());
  const int year = std::clamp(static_cast<int>(date.year()), 0, 9999);
  registers_[kSeconds] = encoded(of_day % 60);
  registers_[kMinutes] = encoded(of_day / 60 % 60);
  registers_[kHours] = encoded_hour(of_day / 3600);
  registers_[kWeekday] = encoded(weekday{day}.c_encoding() + 1);  // 1: Sunday
  registers_[kDay] = encoded(static_cast<unsigned>(date.day()));
  registers_[kMonth] = encoded(static_cast<unsigned>(date.month()));
  registers_[kYear] = encoded(static_cast<unsigned>(year % 100));
  registers_[kCentury] = encoded(static_cast<unsigned>(year / 100));
}

// Whatever software wrote is made some time: what is out of range counts as its nearest neighbour.
std::int64_t Mc146818::latched_seconds() const {
  using namespace std::chrono;
  const auto number = [this](std::uint8_t index, unsigned low, unsigned high) { return std::clamp(decoded(registers_[index]), low, high); };
  const unsigned century = decoded(registers_[kCentury]);
  const unsigned full_year = (century >= 19 && century <= 21 ? century : 20) * 100 + number(kYear, 0, 99);
  const year_month_day date{year{static_cast<int>(full_year)}, month{number(kMonth, 1, 12)}, day{number(kDay, 1, 31)}};
  const unsigned of_day = std::min(decoded_hour(registers_[kHours]), 23U) * 3600 + number(kMinutes, 0, 59) * 60 + number(kSeconds, 0, 59);
  // A day that the month does not have becomes one of the next month's.
  return sys_seconds{sys_days{date}}.time_since_epoch().count() + of_day;
}

std::uint8_t Mc146818::read(std::uint8_t index, std::int64_t now_ns) {
  index %= kRegisters;
  advance(now_ns);
  const std::int64_t wall = wall_ns(now_ns);
  if (is_time(index) && !held()) latch(floor_divide(wall, kSecond));
  if (index == kA) {
    const bool soon = !held() && wall - floor_divide(wall, kSecond) * kSecond >= kSecond - kUpdateNotice;
    return static_cast<std::uint8_t>(registers_[kA] | (soon ? kUpdateInProgress : 0));
  }
  const std::uint8_t value = registers_[index];
  if (index == kC) registers_[kC] = 0;  // acknowledges all
  return value;
}

void Mc146818::write(std::uint8_t index, std::uint8_t value, std::int64_t now_ns) {
  index %= kRegisters;
  if (index == kC || index == kD) return;  // read-only
  advance(now_ns);
  const std::int64_t wall = wall_ns(now_ns);
  const bool was_held = held();
  const bool was_in_reset = in_reset();
  const bool is_control = index == kA || index == kB;
  // Before the format of the registers may change.
  if (!was_held && (is_time(index) || is_control)) latch(floor_divide(wall, kSecond));
  const std::int64_t fraction = wall - floor_divide(wall, kSecond) * kSecond;
  if (index == kA) value &= static_cast<std::uint8_t>(~kUpdateInProgress);
  registers_[index] = value;
  if (index == kB && (value & kSet) != 0) registers_[kB] &= static_cast<std::uint8_t>(~kUpdateEnable);  // data sheet: SET clears UIE
  if (held()) {
    if (!was_held) held_wall_ns_ = wall;
  } else if (was_held) {
    offset_ns_ = latched_seconds() * kSecond + (was_in_reset ? kFirstUpdate : fraction) - now_ns;
  } else if (is_time(index)) {
    offset_ns_ = latched_seconds() * kSecond + fraction - now_ns;
  }
  seen_ns_ = now_ns;
  advance(now_ns);  // an enable may find its flag set
}

std::optional<std::int64_t> Mc146818::period_ns() const {
  const unsigned rate = registers_[kA] & 0x0F;
  if (rate == 0 || in_reset()) return std::nullopt;
  // Of 32768 Hz: 2^(rate - 1) ticks, but for the two lowest, which are 8 and 9 again.
  const unsigned shift = rate <= 2 ? rate + 6 : rate - 1;
  return (kSecond << shift) / 32'768;
}

// The first second after `second` that the alarm registers match.
std::int64_t Mc146818::next_alarm_second(std::int64_t second) const {
  constexpr auto kNever = std::numeric_limits<std::int64_t>::max();
  const auto any = [this](std::uint8_t index) { return (registers_[index] & kDontCare) == kDontCare; };
  // A time that no day has is not looked for.
  if ((!any(kHoursAlarm) && decoded_hour(registers_[kHoursAlarm]) > 23) ||
      (!any(kMinutesAlarm) && decoded(registers_[kMinutesAlarm]) > 59) || (!any(kSecondsAlarm) && decoded(registers_[kSecondsAlarm]) > 59))
    return kNever;
  const std::int64_t midnight = floor_divide(second, kDaySeconds) * kDaySeconds;
  for (std::int64_t at = second + 1 - midnight; at < 2 * kDaySeconds;) {
    const std::int64_t of_day = at % kDaySeconds;
    if (!any(kHoursAlarm) && of_day / 3600 != decoded_hour(registers_[kHoursAlarm])) {
      at += 3600 - of_day % 3600;
    } else if (!any(kMinutesAlarm) && of_day / 60 % 60 != decoded(registers_[kMinutesAlarm])) {
      at += 60 - of_day % 60;
    } else if (!any(kSecondsAlarm) && of_day % 60 != decoded(registers_[kSecondsAlarm])) {
      ++at;
    } else {
      return midnight + at;
    }
  }
  return kNever;
}

void Mc146818::advance(std::int64_t now_ns) {
  std::uint8_t flags = registers_[kC];
  if (const auto period = period_ns(); period && now_ns / *period != seen_ns_ / *period) flags |= kPeriodic;
  if (!held()) {
    const std::int64_t before = floor_divide(seen_ns_ + offset_ns_, kSecond);
    const std::int64_t second = floor_divide(now_ns + offset_ns_, kSecond);
    if (second > before) {
      flags |= kUpdate;
      if (next_alarm_second(before) <= second) flags |= kAlarm;
    }
  }
  seen_ns_ = now_ns;
  if ((flags & registers_[kB] & (kPeriodic | kAlarm | kUpdate)) != 0) flags |= kInterrupt;
  registers_[kC] = flags;
}

std::optional<std::int64_t> Mc146818::next_event(std::int64_t now_ns) const {
  if (interrupt_pending()) return std::nullopt;  // the line stays up until register C is read
  std::optional<std::int64_t> next;
  const auto consider = [&next](std::int64_t at) { next = std::min(next.value_or(at), at); };
  const std::uint8_t enabled = registers_[kB];
  if (const auto period = period_ns(); period && (enabled & kPeriodicEnable) != 0) consider((now_ns / *period + 1) * *period);
  if (!held()) {
    const std::int64_t second = floor_divide(now_ns + offset_ns_, kSecond);
    if ((enabled & kUpdateEnable) != 0) consider((second + 1) * kSecond - offset_ns_);
    if ((enabled & kAlarmEnable) != 0) {
      if (const auto alarm = next_alarm_second(second); alarm != std::numeric_limits<std::int64_t>::max())
        consider(alarm * kSecond - offset_ns_);
    }
  }
  return next;
}

void Mc146818::restore(const Registers& registers, std::int64_t wall_ns, std::int64_t now_ns) {
  registers_ = registers;
  held_wall_ns_ = wall_ns;
  offset_ns_ = wall_ns - now_ns;
  seen_ns_ = now_ns;
}

}  // namespace understudy
