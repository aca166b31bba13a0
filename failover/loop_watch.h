// Small watches over this process itself: how late its timers are, whether a loop answers, and what arrives damaged. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "failover/probe.h"

namespace understudy {

// Timers that come late: this host gives the daemon no CPU, or its loop was held up. Degraded at most, since what the guest and the pair
// suffer of it shows in their own evidence; stolen time alone moves no guest.
class TimerWatch {
 public:
  static constexpr Duration kLate = std::chrono::milliseconds{200};
  static constexpr Duration kWindow = std::chrono::seconds{2};  // the latest lateness is told so long

  // A timer that was due at `due` ran at `now`.
  void note(Instant due, Instant now);
  ProbeReport look(Instant now) const;

 private:
  Duration late_{};
  Instant late_at_{};
};

// A loop that is asked to answer, and does or does not.
class LoopWatch {
 public:
  static constexpr Duration kSlowAfter = std::chrono::seconds{1};  // a restore or a pause holds a session's loop for part of that

  // True when it is to be asked now: nothing is outstanding.
  bool ask(Instant now);
  void answered() { asked_at_.reset(); }
  // `name`: of the loop. Degraded at most: a loop that stands commits no epoch, and that is what the peer acts upon.
  ProbeReport look(const std::string& name, Instant now) const;

 private:
  std::optional<Instant> asked_at_;
};

// Messages of the peer that failed their checks. They were dropped; that they come at all tells of a NIC, a cable or a memory, here or
// there.
class ReceiveWatch {
 public:
  static constexpr Duration kTold = std::chrono::minutes{1};  // since the latest

  // `total` of this process, which grows.
  ProbeReport look(std::uint64_t total, Instant now);

 private:
  std::uint64_t before_ = 0;  // how many there were when it was last quiet
  std::uint64_t total_ = 0;
  std::optional<Instant> latest_;
};

// How much is done in a second, from a counter.
class RateMeter {
 public:
  static constexpr Duration kEvery = std::chrono::milliseconds{500};
  void note(std::uint64_t total, Instant now);
  std::uint64_t per_second() const { return per_second_; }

 private:
  std::optional<Instant> since_;
  std::uint64_t total_ = 0;
  std::uint64_t per_second_ = 0;
};

}  // namespace understudy
