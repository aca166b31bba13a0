#include "vmm/vm_state.h"

#include <x86intrin.h>

#include "net/base/check.h"

namespace understudy {
namespace {

Result<void> get_chip(const KvmVm& vm, std::uint32_t id, kvm_irqchip& into) {
  into.chip_id = id;
  US_TRY(US_KVM_IOCTL(vm.fd(), KVM_GET_IRQCHIP, &into));
  return {};
}

Result<void> set_chip(const KvmVm& vm, std::uint32_t id, kvm_irqchip chip) {
  chip.chip_id = id;
  US_TRY(US_KVM_IOCTL(vm.fd(), KVM_SET_IRQCHIP, &chip));
  return {};
}

// kvmclock and vCPU 0's TSC at one moment. A guest that has both compares them: Linux calls its TSC unstable at half a millisecond between
// two looks (kernel/time/clocksource.c), and each restore would add to what the two reads lie apart.
struct ClockPair {
  std::uint64_t kvmclock_ns = 0;
  std::uint64_t tsc = 0;
};

// The TSC is read between two looks at kvmclock, and belongs to their middle. A thread that lost its processor in between tries again.
Result<ClockPair> read_clocks(const KvmVm& vm, int vcpu0_fd) {
  constexpr unsigned kTries = 4;
  constexpr std::uint64_t kCloseNs = 20'000;
  ClockPair best;
  std::uint64_t best_apart_ns = ~std::uint64_t{0};
  for (unsigned i = 0; i < kTries && best_apart_ns > kCloseNs; ++i) {
    kvm_clock_data before{};
    kvm_clock_data after{};
    US_TRY(US_KVM_IOCTL(vm.fd(), KVM_GET_CLOCK, &before));
    US_ASSIGN(const std::uint64_t tsc, read_msr(vcpu0_fd, kMsrTsc));
    US_TRY(US_KVM_IOCTL(vm.fd(), KVM_GET_CLOCK, &after));
    const std::uint64_t apart_ns = after.clock - before.clock;
    if (apart_ns >= best_apart_ns) continue;
    best_apart_ns = apart_ns;
    best = {.kvmclock_ns = before.clock + apart_ns / 2, .tsc = tsc};
  }
  return best;
}

// By offset, never by writing a TSC: KVM takes a write within a second of what it expects for an attempt to synchronize, and changes it.
Result<void> restore_tsc(const KvmVm& vm, std::span<const VcpuClock> vcpus, const SavedClock& saved) {
  US_TRY(write_tsc_offset(vcpus[0].fd, 0));
  US_ASSIGN(const ClockPair raw, read_clocks(vm, vcpus[0].fd));
  const std::uint64_t offset = plan_tsc_offset(saved, raw.tsc, raw.kvmclock_ns);
  for (const auto& vcpu : vcpus) US_TRY(write_tsc_offset(vcpu.fd, offset + vcpu.delta));
  return {};
}

}  // namespace

std::uint64_t read_host_tsc() { return __rdtsc(); }

Result<void> save_interrupt_controllers(const KvmVm& vm, InterruptControllersState& into) {
  US_TRY(get_chip(vm, KVM_IRQCHIP_PIC_MASTER, into.pic_master));
  US_TRY(get_chip(vm, KVM_IRQCHIP_PIC_SLAVE, into.pic_slave));
  US_TRY(get_chip(vm, KVM_IRQCHIP_IOAPIC, into.ioapic));
  US_TRY(US_KVM_IOCTL(vm.fd(), KVM_GET_PIT2, &into.pit));
  return {};
}

Result<void> restore_interrupt_controllers(const KvmVm& vm, const InterruptControllersState& state) {
  US_TRY(set_chip(vm, KVM_IRQCHIP_PIC_MASTER, state.pic_master));
  US_TRY(set_chip(vm, KVM_IRQCHIP_PIC_SLAVE, state.pic_slave));
  US_TRY(set_chip(vm, KVM_IRQCHIP_IOAPIC, state.ioapic));
  kvm_pit_state2 pit = state.pit;
  US_TRY(US_KVM_IOCTL(vm.fd(), KVM_SET_PIT2, &pit));
  return {};
}

Result<SavedClock> save_clock(const KvmVm& vm, int vcpu0_fd, std::uint64_t guest_tsc_khz) {
  SavedClock saved;
  saved.guest_tsc_khz = guest_tsc_khz;
  US_ASSIGN(const ClockPair now, read_clocks(vm, vcpu0_fd));
  saved.host_tsc = read_host_tsc();
  saved.kvmclock_ns = now.kvmclock_ns;
  saved.guest_tsc = now.tsc;
  return saved;
}

Result<void> restore_clock(const KvmVm& vm, std::span<const VcpuClock> vcpus, const SavedClock& saved, bool tsc_offset_honoured) {
  US_CHECK(!vcpus.empty());
  kvm_clock_data clock{};
  clock.clock = saved.kvmclock_ns;  // without KVM_CLOCK_REALTIME: the downtime is not added
  US_TRY(US_KVM_IOCTL(vm.fd(), KVM_SET_CLOCK, &clock));
  if (tsc_offset_honoured) US_TRY(restore_tsc(vm, vcpus, saved));
  std::uint64_t tsc_now = saved.guest_tsc;
  if (!tsc_offset_honoured) {
    US_ASSIGN(tsc_now, read_msr(vcpus[0].fd, kMsrTsc));
  }
  for (const auto& vcpu : vcpus) {
    if (vcpu.has_deadline) US_TRY(write_msr(vcpu.fd, kMsrTscDeadline, plan_tsc_deadline(saved, vcpu.deadline, tsc_now)));
  }
  return {};
}

Result<HostTsc> host_tsc(const Kvm& kvm, int fresh_vcpu_fd) {
  US_ASSIGN(const int khz, US_KVM_IOCTL(fresh_vcpu_fd, KVM_GET_TSC_KHZ, 0UL));
  return HostTsc{.khz = static_cast<std::uint64_t>(khz), .scalable = kvm.capability(KVM_CAP_TSC_CONTROL) != 0};
}

}  // namespace understudy
