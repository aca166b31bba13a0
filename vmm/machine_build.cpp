// Machine::create: from a configuration to vCPUs, devices and their wiring.
#include <fmt/format.h>

#include "net/base/log.h"
#include "vmm/cpu_model.h"
#include "vmm/machine_parts.h"
#include "vmm/protection_fault.h"

namespace understudy {

Result<std::unique_ptr<Machine>> Machine::create(MachineConfig config, std::shared_ptr<GuestMemory> memory, const Clock& clock) {
  if (config.vcpu_count < 1 || config.vcpu_count > kMaxVcpus)
    return Error{ErrorCode::kInvalid, fmt::format("a machine of {} vCPUs: give 1 to {}", config.vcpu_count, kMaxVcpus)};
  US_ASSIGN(auto parts, Parts::make(std::move(config), std::move(memory), clock));
  return std::unique_ptr<Machine>{new Machine{std::move(parts)}};
}

Result<std::unique_ptr<Machine::Parts>> Machine::Parts::make(MachineConfig config, std::shared_ptr<GuestMemory> memory,
                                                             const Clock& clock) {
  US_ASSIGN(Kvm kvm, Kvm::open());
  US_ASSIGN(KvmVm vm, kvm.create_vm());
  auto parts = std::make_unique<Parts>(std::move(config), std::move(memory), clock, std::move(kvm), std::move(vm));
  US_TRY(parts->build());
  return parts;
}

Result<void> Machine::Parts::build() {
  US_TRY(vm.set_vmx_pages());
  US_TRY(vm.create_irqchip_and_pit());
  US_TRY(vm.enable_capabilities());
  US_TRY(vm.set_memory(*memory, 0));
  dirty_log = std::make_unique<KvmDirtyLog>(vm, *memory);
  tracker = std::make_unique<DirtyTracker>(*dirty_log, memory->layout(), memory->host_writes());
  US_TRY(build_devices());
  US_TRY(build_vcpus());
  fit.fingerprint.layout = memory->layout();
  fit.fingerprint.vcpu_count = config.vcpu_count;
  fit.fingerprint.tsc_khz = fit.tsc.khz;
  fit.fingerprint.tsc_scalable = fit.tsc.scalable;
  fit.fingerprint.xsave_bytes = fit.abilities.xsave_bytes;
  fit.fingerprint.device_ids = devices->device_ids();
  guest_tsc_khz = fit.tsc.khz;
  protection_fault = protection_fault_here(kvm, clock);
  state.fingerprint = fit.fingerprint;
  state.cpuid = cpuid;
  for (unsigned i = 0; i < config.vcpu_count; ++i) state.vcpus.push_back(make_vcpu_state(fit.abilities));
  return {};
}

Result<void> Machine::Parts::build_devices() {
  US_ASSIGN(loop, LoopThread::start(clock, "devices"));
  DevicesConfig devices_config = config.devices;
  devices_config.panic_sink = [this](std::uint8_t bits) { guest_told(bits); };
  US_ASSIGN(devices, DeviceManager::create(std::move(devices_config), memory, loop->loop()));
  for (const auto& route : devices->interrupts()) US_TRY(vm.add_irqfd(route.fd, route.gsi));
  for (const auto& route : devices->notifications()) US_TRY(vm.add_ioeventfd(route.fd, route.address, route.value));
  return {};
}

Result<void> Machine::Parts::build_vcpus() {
  US_ASSIGN(CpuidTable supported, kvm.supported_cpuid());
  US_ASSIGN(auto msrs, kvm.msr_indices());
  const bool tsc_deadline = kvm.capability(KVM_CAP_TSC_DEADLINE_TIMER) != 0;
  cpuid = guest_cpuid(std::move(supported), 0, config.vcpu_count, tsc_deadline);
  US_TRY(apply_cpu_model(config.cpu_model, cpuid));
  const VcpuSurroundings surroundings{devices->port_bus(), devices->mmio_bus(), clock,
                                      [this](const MachineEvent& what) { guest_ended(what); }};
  for (unsigned i = 0; i < config.vcpu_count; ++i) {
    US_ASSIGN(auto vcpu, Vcpu::create(kvm, vm, i, surroundings));
    CpuidTable own = cpuid;
    set_apic_id(own, i);
    US_TRY(set_cpuid(vcpu->fd(), own));
    vcpus.push_back(std::move(vcpu));
  }
  const int first = vcpus.front()->fd();
  US_ASSIGN(const CpuidTable visible, get_cpuid(first));
  if (const std::string changes = difference(cpuid, visible); !changes.empty())
    log(Severity::kWarning, "the guest's CPUID is not as it was set", {{"changes", changes}});
  kernel_help = linux_feature_parameters(cpuid, visible);
  if (!kernel_help.empty())
    log(Severity::kInfo, "the guest's command line says which CPU features not to use", {{"added", kernel_help.substr(1)}});
  fit.fingerprint.cpu_feature_words = feature_words(visible);
  US_ASSIGN(fit.tsc, host_tsc(kvm, first));
  const auto xsave_bytes = static_cast<std::size_t>(vm.capability(KVM_CAP_XSAVE2));
  fit.abilities = find_vcpu_abilities(first, xsave_bytes, msr_candidates(std::move(msrs)));
  if (fit.abilities.tsc_offset) {
    // Trying moved vCPU 0's for a moment: KVM counts the TSCs as synchronized again once each was given the same offset.
    US_ASSIGN(const std::uint64_t offset, read_tsc_offset(first));
    for (const auto& vcpu : vcpus) US_TRY(write_tsc_offset(vcpu->fd(), offset));
  } else {
    // Linux prefers the TSC, where it counts evenly, to kvmclock, which alone goes on from the checkpoint here.
    constexpr std::string_view kByKvmclock = " clocksource=kvm-clock";
    const bool told = config.command_line.find("clocksource=") != std::string::npos;
    if (!told) kernel_help += kByKvmclock;
    log(Severity::kWarning, "KVM does not honour a TSC offset: after a takeover the guest's TSC is the new host's",
        {{"added", told ? "nothing: the command line names a clock source" : kByKvmclock.substr(1)}});
  }
  return {};
}

}  // namespace understudy
