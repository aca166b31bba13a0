#include "vmm/clock_restore.h"

#include <algorithm>

namespace understudy {

bool tsc_frequency_matches(std::uint64_t guest_khz, std::uint64_t host_khz) {
  const std::uint64_t difference = std::max(guest_khz, host_khz) - std::min(guest_khz, host_khz);
  return difference <= host_khz / 1'000'000 * kTscTolerancePpm + host_khz % 1'000'000 * kTscTolerancePpm / 1'000'000;
}

Result<std::optional<std::uint64_t>> plan_frequency(const SavedClock& saved, const HostTsc& host) {
  if (saved.guest_tsc_khz == 0) return Error{ErrorCode::kCorrupt, "saved TSC frequency is 0 kHz"};
  if (tsc_frequency_matches(saved.guest_tsc_khz, host.khz)) return std::optional<std::uint64_t>{};
  if (!host.scalable)
    return Error{ErrorCode::kRefused, "the guest's TSC runs at " + std::to_string(saved.guest_tsc_khz) + " kHz, this host's at " +
                                          std::to_string(host.khz) + " kHz, and its KVM cannot scale it: pair hosts of one TSC frequency"};
  return std::optional{saved.guest_tsc_khz};
}

std::uint64_t plan_tsc_offset(const SavedClock& saved, std::uint64_t raw_tsc, std::uint64_t kvmclock_ns) {
  const std::uint64_t passed_ns = kvmclock_ns > saved.kvmclock_ns ? kvmclock_ns - saved.kvmclock_ns : 0;
  // Exact for what passes within a restore, and in range for centuries.
  const std::uint64_t passed = passed_ns / 1'000'000 * saved.guest_tsc_khz + passed_ns % 1'000'000 * saved.guest_tsc_khz / 1'000'000;
  return saved.guest_tsc + passed - raw_tsc;
}

std::uint64_t plan_tsc_deadline(const SavedClock& saved, std::uint64_t deadline, std::uint64_t tsc_now) {
  if (deadline == 0) return 0;
  const std::uint64_t moved = deadline - saved.guest_tsc + tsc_now;
  return moved == 0 ? 1 : moved;  // 0 would disarm it
}

}  // namespace understudy
