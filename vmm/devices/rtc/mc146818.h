// The MC146818 clock chip and its RAM as a PC's software sees them (Motorola's data sheet MC146818/D), without a clock: `now_ns` is the
// guest's time on every call, and never goes back.
//
// Invariant: the time registers are computed from the wall clock unless the clock is held (SET, or the divider in reset), and are plain
// bytes then. Loop-owned by whoever holds the device's lock.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

namespace understudy {

class Mc146818 {
 public:
  static constexpr std::size_t kRegisters = 128;
  using Registers = std::array<std::uint8_t, kRegisters>;

  // `wall_ns`: the wall clock (UTC, since 1970) at time 0.
  Mc146818(std::int64_t wall_ns, std::uint64_t memory_bytes);

  std::uint8_t read(std::uint8_t index, std::int64_t now_ns);
  void write(std::uint8_t index, std::uint8_t value, std::int64_t now_ns);

  // Brings the interrupt flags and the line up to date; the other calls do so first, too.
  void advance(std::int64_t now_ns);
  // The interrupt line is up, from an enabled flag to the read of register C.
  bool interrupt_pending() const { return (registers_[kC] & kInterrupt) != 0; }
  // When advance() may next raise the line; nullopt: not before a register is read or written.
  std::optional<std::int64_t> next_event(std::int64_t now_ns) const;

  std::int64_t wall_ns(std::int64_t now_ns) const;
  const Registers& registers() const { return registers_; }
  // Goes on from a saved state at time `now_ns`. `wall_ns` within kEarliest and kLatest.
  void restore(const Registers& registers, std::int64_t wall_ns, std::int64_t now_ns);

  // What the registers can be set to, with room: before 1900 and after 2200.
  static constexpr std::int64_t kEarliestNs = -2'250'000'000'000'000'000, kLatestNs = 7'600'000'000'000'000'000;

  // Register numbers and bits, for the tests as well.
  static constexpr std::uint8_t kSeconds = 0, kSecondsAlarm = 1, kMinutes = 2, kMinutesAlarm = 3, kHours = 4, kHoursAlarm = 5;
  static constexpr std::uint8_t kWeekday = 6, kDay = 7, kMonth = 8, kYear = 9, kCentury = 0x32;  // the century as ACPI's FADT names it
  static constexpr std::uint8_t kA = 10, kB = 11, kC = 12, kD = 13;
  static constexpr std::uint8_t kUpdateInProgress = 0x80;                                                        // A
  static constexpr std::uint8_t kSet = 0x80, kPeriodicEnable = 0x40, kAlarmEnable = 0x20, kUpdateEnable = 0x10;  // B
  static constexpr std::uint8_t kBinary = 0x04, kHours24 = 0x02;                                                 // B
  static constexpr std::uint8_t kInterrupt = 0x80, kPeriodic = 0x40, kAlarm = 0x20, kUpdate = 0x10;              // C
  static constexpr std::uint8_t kValid = 0x80;                                                                   // D

 private:
  static bool is_time(std::uint8_t index) {
    return index == kSeconds || index == kMinutes || index == kHours || (index >= kWeekday && index <= kYear) || index == kCentury;
  }
  bool in_reset() const { return (registers_[kA] & 0x60) == 0x60; }  // divider bits 11x
  bool held() const { return (registers_[kB] & kSet) != 0 || in_reset(); }
  std::optional<std::int64_t> period_ns() const;
  std::int64_t next_alarm_second(std::int64_t second) const;

  std::uint8_t encoded(unsigned value) const;
  unsigned decoded(std::uint8_t value) const;
  std::uint8_t encoded_hour(unsigned hour) const;
  unsigned decoded_hour(std::uint8_t value) const;
  // The wall clock's whole seconds to the time registers and back.
  void latch(std::int64_t wall_seconds);
  std::int64_t latched_seconds() const;

  Registers registers_{};
  std::int64_t offset_ns_;         // wall clock less guest time, while the clock runs
  std::int64_t held_wall_ns_ = 0;  // while it is held
  std::int64_t seen_ns_ = 0;       // the latest advance()
};

}  // namespace understudy
