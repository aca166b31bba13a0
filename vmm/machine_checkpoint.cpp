// Machine's save and restore.
#include "net/base/check.h"
#include "vmm/machine_parts.h"

namespace understudy {

static_assert(Machine::kMaxStateBytes == kMaxMachineStateBytes);

Result<std::span<const std::byte>> Machine::save() {
  auto& parts = *parts_;
  if (parts.life != Parts::Life::kPaused && parts.life != Parts::Life::kBooted && parts.life != Parts::Life::kRestored &&
      !(parts.life == Parts::Life::kFresh && parts.end))
    return Error{ErrorCode::kRefused, "save: the machine is not paused"};
  // The controllers before the LAPICs: an interrupt of the PIT's that arrives meanwhile is then found in a LAPIC, not lost between.
  US_TRY(save_interrupt_controllers(parts.vm, parts.state.interrupts));
  const auto save_one = [&parts](unsigned i) -> Result<void> {
    const int fd = parts.vcpus[i]->fd();
    US_TRY(save_vcpu(fd, parts.fit.abilities, parts.state.vcpus[i]));
    if (i == 0) {
      US_ASSIGN(parts.state.clock, save_clock(parts.vm, fd, parts.guest_tsc_khz));
    }
    return {};
  };
  US_TRY(parts.on_every_vcpu(save_one));
  return parts.writer.write(parts.state, parts.devices->device_count(),
                            [&parts](capnp::List<schema::DeviceState>::Builder out) { parts.devices->save(out); });
}

Result<void> Machine::check_state(std::span<const std::byte> state) const {
  US_ASSIGN(const auto decoded, DecodedMachineState::decode(state));
  US_TRY(fits(decoded.state(), parts_->fit));
  return decoded.with_devices([this](capnp::List<schema::DeviceState>::Reader in) { return parts_->devices->check(in); });
}

Result<void> Machine::restore(std::span<const std::byte> state) {
  if (parts_->life != Parts::Life::kFresh) return Error{ErrorCode::kRefused, "restore: this machine was booted or restored before"};
  US_ASSIGN(const auto decoded, DecodedMachineState::decode(state));
  US_TRY(fits(decoded.state(), parts_->fit));
  US_TRY(decoded.with_devices([this](capnp::List<schema::DeviceState>::Reader in) { return parts_->devices->check(in); }));
  parts_->life = Parts::Life::kBroken;
  if (auto applied = parts_->apply(decoded); !applied) return std::move(applied.error()).within("restore");
  parts_->life = Parts::Life::kRestored;
  return {};
}

Result<void> Machine::Parts::apply(const DecodedMachineState& decoded) {
  state.clock = decoded.state().clock;
  US_ASSIGN(const auto frequency, plan_frequency(state.clock, fit.tsc));
  const CpuidTable& guest_cpuid = decoded.state().cpuid;
  // The guest goes on with the CPUID that it was started with, though this host may offer more.
  const bool other_cpuid = !difference(guest_cpuid, cpuid).empty() || guest_cpuid.size() != cpuid.size();
  const auto restore_one = [&](unsigned i) -> Result<void> {
    const int fd = vcpus[i]->fd();
    if (other_cpuid) {
      CpuidTable own = guest_cpuid;
      set_apic_id(own, i);
      US_TRY(set_cpuid(fd, own));
    }
    if (frequency) US_TRY(US_KVM_IOCTL(fd, KVM_SET_TSC_KHZ, static_cast<unsigned long>(*frequency)));
    return restore_vcpu(fd, decoded.state().vcpus[i]);
  };
  US_TRY(on_every_vcpu(restore_one));
  US_TRY(restore_interrupt_controllers(vm, decoded.state().interrupts));
  if (other_cpuid) {
    US_ASSIGN(const CpuidTable visible, get_cpuid(vcpus.front()->fd()));
    fit.fingerprint.cpu_feature_words = feature_words(visible);
  }
  cpuid = guest_cpuid;
  guest_tsc_khz = frequency.value_or(guest_tsc_khz);
  fit.fingerprint.tsc_khz = guest_tsc_khz;
  state.fingerprint = fit.fingerprint;
  state.cpuid = cpuid;
  for (unsigned i = 0; i < vcpus.size(); ++i) {
    state.vcpus[i].tsc_offset = decoded.state().vcpus[i].tsc_offset;
    state.vcpus[i].tsc_deadline = decoded.state().vcpus[i].has_tsc_deadline ? decoded.state().vcpus[i].tsc_deadline : 0;
  }
  US_TRY(decoded.with_devices([this](capnp::List<schema::DeviceState>::Reader in) { return devices->restore(in); }));
  return apply_clock();
}

Result<void> Machine::Parts::apply_clock() {
  std::vector<VcpuClock> clocks;
  for (unsigned i = 0; i < vcpus.size(); ++i)
    clocks.push_back({.fd = vcpus[i]->fd(),
                      .delta = state.vcpus[i].tsc_offset - state.vcpus[0].tsc_offset,
                      .has_deadline = fit.abilities.tsc_deadline,
                      .deadline = state.vcpus[i].tsc_deadline});
  US_TRY(restore_clock(vm, clocks, state.clock, fit.abilities.tsc_offset));
  // Tells a guest's soft-lockup watchdog that it stood still; EINVAL from one that has no kvmclock.
  for (const auto& vcpu : vcpus) {
    if (auto told = US_KVM_IOCTL(vcpu->fd(), KVM_KVMCLOCK_CTRL, 0UL); !told) continue;
  }
  return {};
}

}  // namespace understudy
