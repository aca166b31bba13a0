#include "vmm/vcpu_state.h"

#include <algorithm>

#include <fmt/format.h>

#include "net/base/check.h"
#include "vmm/kvm.h"
#include "vmm/kvm_abi.h"

namespace understudy {
namespace {

constexpr std::size_t kMaxCpuidEntries = 256;
constexpr std::uint32_t kMtrrFirstVariable = 0x200;
constexpr std::uint32_t kMtrrVariableCount = 16;  // base and mask of eight
constexpr std::uint32_t kMtrrFixed[] = {0x250, 0x258, 0x259, 0x268, 0x269, 0x26A, 0x26B, 0x26C, 0x26D, 0x26E, 0x26F};
constexpr std::uint32_t kMtrrDefaultType = 0x2FF;
constexpr std::uint32_t kFirstMachineCheckControl = 0x400;
constexpr std::uint32_t kMachineCheckBanks = 32;
constexpr std::uint32_t kMsrWallClockOld = 0x11;
constexpr std::uint32_t kMsrWallClock = 0x4B56'4D00;

Result<void> get_msrs(int fd, std::span<kvm_msr_entry> entries) {
  kvm_abi::MsrBlock block{entries};
  US_ASSIGN(const int got, kvm_ioctl(fd, kvm_abi::kGetMsrs, &block, "KVM_GET_MSRS"));
  if (static_cast<std::size_t>(got) != entries.size())
    return Error{ErrorCode::kFailed, fmt::format("KVM_GET_MSRS: MSR {:#x} cannot be read", entries[static_cast<std::size_t>(got)].index)};
  std::ranges::copy(std::span{block.entries}.first(entries.size()), entries.begin());
  return {};
}

Result<void> set_msrs(int fd, std::span<const kvm_msr_entry> entries) {
  kvm_abi::MsrBlock block{entries};
  US_ASSIGN(const int set, kvm_ioctl(fd, kvm_abi::kSetMsrs, &block, "KVM_SET_MSRS"));
  if (static_cast<std::size_t>(set) != entries.size()) {
    const auto& failed = entries[static_cast<std::size_t>(set)];
    return Error{ErrorCode::kRefused, fmt::format("KVM_SET_MSRS: MSR {:#x} does not take {:#x}", failed.index, failed.data)};
  }
  return {};
}

// Hyper-V's interface, which the guest's CPUID does not offer; some of it (run time, reference count) ticks while the guest stands still.
constexpr std::uint32_t kHypervFirst = 0x4000'0000;
constexpr std::uint32_t kHypervLast = 0x4000'01FF;
bool is_hyperv(std::uint32_t index) { return index >= kHypervFirst && index <= kHypervLast; }

bool is_wall_clock(std::uint32_t index) { return index == kMsrWallClockOld || index == kMsrWallClock; }

kvm_device_attr tsc_offset_attribute(std::uint64_t* offset) {
  kvm_device_attr attribute{};
  attribute.group = KVM_VCPU_TSC_CTRL;
  attribute.attr = KVM_VCPU_TSC_OFFSET;
  attribute.addr = reinterpret_cast<std::uint64_t>(offset);
  return attribute;
}

// The ioctl's argument is not const, though a SET only reads it.
template <class T>
T* argument(const T& value) {
  return const_cast<T*>(&value);
}

}  // namespace

std::vector<std::uint32_t> msr_candidates(std::vector<std::uint32_t> kvm_list) {
  const auto add = [&](std::uint32_t index) {
    if (std::ranges::find(kvm_list, index) == kvm_list.end()) kvm_list.push_back(index);
  };
  for (std::uint32_t i = 0; i < kMtrrVariableCount; ++i) add(kMtrrFirstVariable + i);
  for (const std::uint32_t index : kMtrrFixed) add(index);
  add(kMtrrDefaultType);
  for (std::uint32_t bank = 0; bank < kMachineCheckBanks; ++bank) add(kFirstMachineCheckControl + 4 * bank);
  return kvm_list;
}

VcpuAbilities find_vcpu_abilities(int vcpu_fd, std::size_t xsave_bytes, std::span<const std::uint32_t> candidates) {
  VcpuAbilities abilities;
  abilities.xsave_bytes = xsave_bytes;
  for (const std::uint32_t index : candidates) {
    if (index == kMsrTsc) continue;      // writing it moves the clock
    if (is_wall_clock(index)) continue;  // writing it makes KVM write guest memory; a guest asks once, and never reads it back
    if (is_hyperv(index)) continue;
    if (abilities.msrs.size() + 1 == kvm_abi::kMaxMsrs) break;
    const auto value = read_msr(vcpu_fd, index);
    if (!value || !write_msr(vcpu_fd, index, *value)) continue;
    if (index == kMsrTscDeadline)
      abilities.tsc_deadline = true;
    else
      abilities.msrs.push_back(index);
  }
  abilities.tsc_offset = tsc_offset_honoured(vcpu_fd);
  return abilities;
}

VcpuState make_vcpu_state(const VcpuAbilities& abilities) {
  VcpuState state;
  state.xsave.resize(abilities.xsave_bytes);
  state.has_tsc_deadline = abilities.tsc_deadline;
  for (const std::uint32_t index : abilities.msrs) state.msrs.push_back({.index = index, .reserved = 0, .data = 0});
  return state;
}

Result<void> save_vcpu(int fd, const VcpuAbilities& abilities, VcpuState& into) {
  US_CHECK(into.xsave.size() == abilities.xsave_bytes && into.msrs.size() == abilities.msrs.size());
  // First, since it may deliver a pending INIT or SIPI, which changes the registers.
  US_TRY(US_KVM_IOCTL(fd, KVM_GET_MP_STATE, &into.mp_state));
  US_TRY(US_KVM_IOCTL(fd, KVM_GET_REGS, &into.regs));
  US_TRY(US_KVM_IOCTL(fd, KVM_GET_SREGS2, &into.sregs));
  US_TRY(kvm_ioctl(fd, kvm_abi::kGetXsave2, into.xsave.data(), "KVM_GET_XSAVE2"));
  US_TRY(US_KVM_IOCTL(fd, KVM_GET_XCRS, &into.xcrs));
  US_TRY(US_KVM_IOCTL(fd, KVM_GET_DEBUGREGS, &into.debug_regs));
  US_TRY(US_KVM_IOCTL(fd, KVM_GET_LAPIC, &into.lapic));
  US_TRY(get_msrs(fd, into.msrs));
  if (abilities.tsc_deadline) {
    US_ASSIGN(into.tsc_deadline, read_msr(fd, kMsrTscDeadline));
  }
  US_ASSIGN(into.tsc_offset, read_tsc_offset(fd));
  US_TRY(US_KVM_IOCTL(fd, KVM_GET_VCPU_EVENTS, &into.events));
  return {};
}

Result<void> restore_vcpu(int fd, const VcpuState& state) {
  // APIC base and EFER come with the special registers: the LAPIC's mode and the MSRs below depend on them.
  US_TRY(US_KVM_IOCTL(fd, KVM_SET_SREGS2, argument(state.sregs)));
  // Drops pending exceptions, so before the events.
  US_TRY(US_KVM_IOCTL(fd, KVM_SET_REGS, argument(state.regs)));
  US_TRY(kvm_ioctl(fd, kvm_abi::kSetXsave, const_cast<std::byte*>(state.xsave.data()), "KVM_SET_XSAVE"));
  US_TRY(US_KVM_IOCTL(fd, KVM_SET_XCRS, argument(state.xcrs)));
  US_TRY(US_KVM_IOCTL(fd, KVM_SET_DEBUGREGS, argument(state.debug_regs)));
  // Before the TSC deadline, which only takes when the LAPIC's timer is in its mode.
  US_TRY(US_KVM_IOCTL(fd, KVM_SET_LAPIC, argument(state.lapic)));
  US_TRY(set_msrs(fd, state.msrs));
  US_TRY(US_KVM_IOCTL(fd, KVM_SET_VCPU_EVENTS, argument(state.events)));
  US_TRY(US_KVM_IOCTL(fd, KVM_SET_MP_STATE, argument(state.mp_state)));
  return {};
}

Result<void> set_cpuid(int vcpu_fd, const CpuidTable& table) {
  kvm_abi::CpuidBlock block{std::span{table}};
  US_TRY(kvm_ioctl(vcpu_fd, kvm_abi::kSetCpuid2, block.header(), "KVM_SET_CPUID2"));
  return {};
}

Result<CpuidTable> get_cpuid(int vcpu_fd) {
  kvm_abi::CpuidBlock block{kMaxCpuidEntries};
  US_TRY(kvm_ioctl(vcpu_fd, kvm_abi::kGetCpuid2, block.header(), "KVM_GET_CPUID2"));
  return CpuidTable(block.entries().begin(), block.entries().end());
}

Result<std::uint64_t> read_msr(int vcpu_fd, std::uint32_t index) {
  kvm_msr_entry entry{.index = index, .reserved = 0, .data = 0};
  US_TRY(get_msrs(vcpu_fd, {&entry, 1}));
  return entry.data;
}

Result<void> write_msr(int vcpu_fd, std::uint32_t index, std::uint64_t value) {
  const kvm_msr_entry entry{.index = index, .reserved = 0, .data = value};
  return set_msrs(vcpu_fd, {&entry, 1});
}

Result<std::uint64_t> read_tsc_offset(int vcpu_fd) {
  std::uint64_t offset = 0;
  kvm_device_attr attribute = tsc_offset_attribute(&offset);
  US_TRY(US_KVM_IOCTL(vcpu_fd, KVM_GET_DEVICE_ATTR, &attribute));
  return offset;
}

bool tsc_offset_honoured(int vcpu_fd) {
  constexpr std::uint64_t kFar = std::uint64_t{1} << 60;  // no two reads of a TSC lie that far apart
  const auto original = read_tsc_offset(vcpu_fd);
  const auto before = read_msr(vcpu_fd, kMsrTsc);
  if (!original || !before || !write_tsc_offset(vcpu_fd, *original + kFar)) return false;
  const auto kept = read_tsc_offset(vcpu_fd);
  const auto after = read_msr(vcpu_fd, kMsrTsc);
  const bool honoured = kept && after && *kept == *original + kFar && *after - *before >= kFar;
  return write_tsc_offset(vcpu_fd, *original) && honoured;
}

Result<void> write_tsc_offset(int vcpu_fd, std::uint64_t offset) {
  kvm_device_attr attribute = tsc_offset_attribute(&offset);
  US_TRY(US_KVM_IOCTL(vcpu_fd, KVM_SET_DEVICE_ATTR, &attribute));
  return {};
}

}  // namespace understudy
