// When a probe's findings count: so many in a row to believe a failure, so many to believe that it is over. Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "failover/probe.h"

namespace understudy {

struct Hysteresis {
  unsigned failures = 1;   // findings in a row that are at least as bad, before the probe says so
  unsigned successes = 1;  // findings in a row that are at least as good
};

// The kinds of probes there are.
enum class ProbeKind : std::uint8_t {
  kNic,        // service NIC, the guest's tap, and the echo
  kStorage,    // a canary, and the images beside it
  kGuestDisk,  // the guest's own requests
  kReplicationNic,
  kReceive,  // corrupt messages
  kKernelLog,
  kMemory,
  kClock,
  kScheduler,
  kThreads,  // vCPUs and the monitor's loops
  kCommand,  // the operator's
};

struct ProbeTraits {
  ProbeKind kind;
  Duration period;    // between two exercises
  Duration deadline;  // without an answer for so long, `silence` is what it says; 0: [timing] says it
  Hysteresis hysteresis;
  Health silence;  // kFailed for what carries the guest
};

// Each probe's numbers, in this one place. An error that the path itself returned (EIO, no such interface, other bytes than were written)
// is certain and counts at once where it is storage's; a NIC's counters and carrier may flicker. A path is well again only after several
// findings, so that one that comes and goes stays failed.
constexpr ProbeTraits kProbeTraits[] = {
    {ProbeKind::kNic, std::chrono::milliseconds{50}, {}, {2, 4}, Health::kFailed},
    {ProbeKind::kStorage, std::chrono::milliseconds{150}, {}, {1, 5}, Health::kFailed},
    {ProbeKind::kGuestDisk, std::chrono::milliseconds{100}, {}, {1, 3}, Health::kFailed},
    {ProbeKind::kReplicationNic, std::chrono::milliseconds{200}, std::chrono::seconds{3}, {2, 5}, Health::kDegraded},
    {ProbeKind::kReceive, std::chrono::milliseconds{500}, {}, {1, 1}, Health::kDegraded},
    {ProbeKind::kKernelLog, std::chrono::milliseconds{100}, std::chrono::seconds{3}, {1, 1}, Health::kDegraded},
    {ProbeKind::kMemory, std::chrono::milliseconds{500}, std::chrono::seconds{3}, {3, 6}, Health::kDegraded},
    {ProbeKind::kClock, std::chrono::milliseconds{500}, std::chrono::seconds{3}, {1, 1}, Health::kDegraded},
    {ProbeKind::kScheduler, std::chrono::milliseconds{500}, {}, {2, 4}, Health::kDegraded},
    {ProbeKind::kThreads, std::chrono::milliseconds{250}, {}, {2, 2}, Health::kDegraded},
    {ProbeKind::kCommand, std::chrono::seconds{5}, {}, {3, 2}, Health::kFailed},  // what a configuration leaves out
};
constexpr const ProbeTraits& traits_of(ProbeKind kind) { return kProbeTraits[static_cast<std::size_t>(kind)]; }

// From what each exercise of one probe found to what the probe says.
class ProbeThreshold {
 public:
  explicit ProbeThreshold(Hysteresis hysteresis) : hysteresis_{hysteresis} {}

  // What the probe says now that `found` is known. While a finding that is worse waits to be believed, what was said before is said again,
  // with its times: it proves nothing newer.
  const ProbeReport& take(ProbeReport found);

 private:
  static constexpr std::size_t kRanks = 4;  // healthy, degraded, suspected, failed
  static std::size_t rank_of(const ProbeReport& report);

  const Hysteresis hysteresis_;
  std::array<unsigned, kRanks> at_least_{};  // findings in a row of that rank or worse
  std::array<unsigned, kRanks> at_most_{};
  std::array<ProbeReport, kRanks> latest_{};
  ProbeReport said_;  // kUnknown before anything is believed
};

}  // namespace understudy
