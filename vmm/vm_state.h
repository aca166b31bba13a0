// What a virtual machine holds besides its vCPUs: PICs, IOAPIC, PIT, and the clocks. While every vCPU is parked.
#pragma once

#include <span>

#include <linux/kvm.h>

#include "net/base/result.h"
#include "vmm/clock_restore.h"
#include "vmm/kvm.h"
#include "vmm/vcpu_state.h"

namespace understudy {

struct InterruptControllersState {
  kvm_irqchip pic_master{};
  kvm_irqchip pic_slave{};
  kvm_irqchip ioapic{};
  kvm_pit_state2 pit{};
};

Result<void> save_interrupt_controllers(const KvmVm& vm, InterruptControllersState& into);
// After every LAPIC was restored: the IOAPIC delivers what it has pending.
Result<void> restore_interrupt_controllers(const KvmVm& vm, const InterruptControllersState& state);

// The clock as vCPU 0 and kvmclock show it. `guest_tsc_khz` is vCPU 0's.
Result<SavedClock> save_clock(const KvmVm& vm, int vcpu0_fd, std::uint64_t guest_tsc_khz);

// One vCPU's part in setting the clock; `delta` is its TSC less vCPU 0's, modulo 2^64.
struct VcpuClock {
  int fd = -1;
  std::uint64_t delta = 0;
  bool has_deadline = false;
  std::uint64_t deadline = 0;
};
// Sets kvmclock, then every TSC in step with it, then every deadline. vCPU 0 comes first. Where an offset is not honoured the TSCs stay the
// host's.
Result<void> restore_clock(const KvmVm& vm, std::span<const VcpuClock> vcpus, const SavedClock& saved, bool tsc_offset_honoured);

Result<HostTsc> host_tsc(const Kvm& kvm, int fresh_vcpu_fd);

std::uint64_t read_host_tsc();

}  // namespace understudy
