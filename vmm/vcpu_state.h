// A vCPU's whole state, taken from KVM and put back, in the order that KVM wants.
//
// Threading: on the vCPU's own thread while it is parked.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <linux/kvm.h>

#include "net/base/result.h"
#include "vmm/cpuid.h"

namespace understudy {

inline constexpr std::uint32_t kMsrTsc = 0x10;
inline constexpr std::uint32_t kMsrTscDeadline = 0x6E0;

// Filled in place by each save, so that a save allocates nothing. What the kernel does not write is zero.
struct VcpuState {
  kvm_mp_state mp_state{};
  kvm_regs regs{};
  kvm_sregs2 sregs{};
  std::vector<std::byte> xsave;  // KVM_CAP_XSAVE2 bytes
  kvm_xcrs xcrs{};
  kvm_debugregs debug_regs{};
  kvm_lapic_state lapic{};
  kvm_vcpu_events events{};
  std::vector<kvm_msr_entry> msrs;  // without TSC and TSC deadline; indices fixed by the machine
  std::uint64_t tsc_offset = 0;     // KVM_VCPU_TSC_OFFSET (KVM vcpu device attributes, 4.1)
  bool has_tsc_deadline = false;
  std::uint64_t tsc_deadline = 0;
};

// What this host's KVM offers for vCPUs; found once.
struct VcpuAbilities {
  std::size_t xsave_bytes = 0;
  std::vector<std::uint32_t> msrs;  // savable, without TSC and TSC deadline, in the order of restoring
  bool tsc_deadline = false;
  bool tsc_offset = false;  // see tsc_offset_honoured()
};

// Tries on a fresh vCPU, after its CPUID is set, which MSRs of `candidates` can be both read and written, each by itself.
VcpuAbilities find_vcpu_abilities(int vcpu_fd, std::size_t xsave_bytes, std::span<const std::uint32_t> candidates);

// The MSRs to try: KVM's list, and the MTRRs and machine-check controls that some kernels leave out of it.
std::vector<std::uint32_t> msr_candidates(std::vector<std::uint32_t> kvm_list);

VcpuState make_vcpu_state(const VcpuAbilities& abilities);

// Everything; of the TSC its offset.
Result<void> save_vcpu(int vcpu_fd, const VcpuAbilities& abilities, VcpuState& into);
// Everything but the TSC and its deadline; those are restored last of all, with the clock. Errors name the step.
Result<void> restore_vcpu(int vcpu_fd, const VcpuState& state);

Result<void> set_cpuid(int vcpu_fd, const CpuidTable& table);
Result<CpuidTable> get_cpuid(int vcpu_fd);
Result<std::uint64_t> read_msr(int vcpu_fd, std::uint32_t index);
Result<void> write_msr(int vcpu_fd, std::uint32_t index, std::uint64_t value);
Result<std::uint64_t> read_tsc_offset(int vcpu_fd);
Result<void> write_tsc_offset(int vcpu_fd, std::uint64_t offset);
// Whether a TSC offset that is set is in force. A KVM without hardware virtualization takes it and lets the guest read the host's TSC all
// the same; it must then not be relied on. The vCPU's offset is as before.
bool tsc_offset_honoured(int vcpu_fd);

}  // namespace understudy
