// What a restored guest's clocks are set to. Pure, so that the clocks of two real hosts can be tried in a test.
//
// Decision: guest time goes on from the checkpoint. TSC and kvmclock continue at the saved values when the guest runs again: they never go
// back, and they do not leap by the downtime. The guest's wall clock is behind by the downtime, until its own NTP corrects it; that is what
// time is to a guest that was paused, and it keeps every timeout in the guest whole.
#pragma once

#include <cstdint>
#include <optional>

#include "net/base/result.h"

namespace understudy {

// Frequencies closer than this count as equal, as KVM itself has it (module parameter tsc_tolerance_ppm).
inline constexpr std::uint64_t kTscTolerancePpm = 250;

// Whether a guest whose TSC runs at `guest_khz` may run on a host of `host_khz` unscaled.
bool tsc_frequency_matches(std::uint64_t guest_khz, std::uint64_t host_khz);

struct SavedClock {
  std::uint64_t guest_tsc = 0;      // vCPU 0's, at the save
  std::uint64_t kvmclock_ns = 0;    // KVM_GET_CLOCK, at the same moment
  std::uint64_t host_tsc = 0;       // of the host that saved, at the save: differs from ours by any amount
  std::uint64_t guest_tsc_khz = 0;  // frequency the guest's TSC runs at
};

struct HostTsc {
  std::uint64_t khz = 0;  // of a fresh vCPU
  bool scalable = false;  // KVM_CAP_TSC_CONTROL
};

// The frequency that KVM must be told for the guest (KVM_SET_TSC_KHZ); nullopt when this host's own serves. kRefused, with both, when they
// differ and this host cannot scale; kCorrupt when the saved one is zero.
Result<std::optional<std::uint64_t>> plan_frequency(const SavedClock& saved, const HostTsc& host);

// vCPU 0's TSC offset (KVM_VCPU_TSC_OFFSET, modulo 2^64) with which its TSC goes on from the saved value, in step with kvmclock, which
// already does and now reads `kvmclock_ns`. `raw_tsc` is what a vCPU with offset zero reads at the same moment: the host's TSC, which KVM
// has scaled to the guest's frequency if need be.
std::uint64_t plan_tsc_offset(const SavedClock& saved, std::uint64_t raw_tsc, std::uint64_t kvmclock_ns);

// A TSC deadline as far ahead as it was at the save, for a vCPU whose TSC reads `tsc_now` where it read saved.guest_tsc. They differ only
// where KVM does not honour an offset: a timer would otherwise wait for a counter that is days away. 0, not armed, stays 0.
std::uint64_t plan_tsc_deadline(const SavedClock& saved, std::uint64_t deadline, std::uint64_t tsc_now);

}  // namespace understudy
