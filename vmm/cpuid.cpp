#include "vmm/cpuid.h"

#include <algorithm>
#include <bit>

#include <fmt/format.h>

namespace understudy {
namespace {

constexpr std::uint32_t bit(unsigned index) { return std::uint32_t{1} << index; }

// KVM's paravirtual features (cpuid.rst) that are memory and MSRs alone: clock sources, no I/O delay, steal time, PV EOI, stable clock.
// Left out: asynchronous page faults, whose state in flight KVM keeps to itself, and whatever makes the guest call the host (vmcall).
constexpr std::uint32_t kParavirtualFeatures = bit(0) | bit(1) | bit(3) | bit(5) | bit(6) | bit(24);

constexpr std::uint32_t kAmxStates = bit(17) | bit(18);  // XTILECFG, XTILEDATA: need a permission the process does not ask for

std::uint32_t register_of(const kvm_cpuid_entry2& entry, CpuidRegister reg) {
  switch (reg) {
    case CpuidRegister::kEax:
      return entry.eax;
    case CpuidRegister::kEbx:
      return entry.ebx;
    case CpuidRegister::kEcx:
      return entry.ecx;
    case CpuidRegister::kEdx:
      return entry.edx;
  }
  return 0;
}

void clear_all(kvm_cpuid_entry2& entry) { entry.eax = entry.ebx = entry.ecx = entry.edx = 0; }

void filter(kvm_cpuid_entry2& entry, unsigned vcpu_count, bool tsc_deadline) {
  switch (entry.function) {
    case 0x1:
      entry.ebx = (entry.ebx & 0xFF00'FFFF) | vcpu_count << 16;
      entry.ecx &= ~(bit(3) | bit(5) | bit(15) | bit(24));  // MONITOR, VMX, PDCM, TSC deadline
      entry.ecx |= bit(31) | (tsc_deadline ? bit(24) : 0);
      entry.edx = vcpu_count > 1 ? entry.edx | bit(28) : entry.edx & ~bit(28);  // HTT: the count above means something
      break;
    case 0x4:  // caches: private to a core; cores in the package
      if ((entry.eax & 0x1F) != 0) entry.eax = (entry.eax & 0x3FFF) | (std::bit_ceil(vcpu_count) - 1) << 26;
      break;
    case 0x6:  // thermal and power are the host's; the APIC timer never stops (ARAT)
      entry.eax &= bit(2);
      entry.ebx = entry.ecx = entry.edx = 0;
      break;
    case 0x7:
      if (entry.index == 0) entry.edx &= ~(bit(22) | bit(24) | bit(25));  // AMX
      if (entry.index == 1) entry.eax &= ~bit(21);                        // AMX-FP16
      break;
    case 0xA:
      clear_all(entry);
      break;  // performance counters
    case 0xD:
      if (entry.index == 0) entry.eax &= ~kAmxStates;
      if (entry.index == 17 || entry.index == 18) clear_all(entry);
      break;
    case 0x1D:
    case 0x1E:
      clear_all(entry);
      break;  // AMX
    case 0x8000'0001:
      entry.ecx &= ~(bit(2) | bit(23));
      break;  // SVM, performance counters
    case 0x8000'0008:
      entry.ecx = (entry.ecx & ~0xF0FFU) | (vcpu_count - 1) | static_cast<std::uint32_t>(std::bit_width(vcpu_count - 1)) << 12;
      break;
    case 0x8000'000A:
      clear_all(entry);
      break;  // SVM
    case 0x8000'0022:
      clear_all(entry);
      break;  // performance counters
    case 0x4000'0001:
      entry.eax &= kParavirtualFeatures;
      entry.edx = 0;
      break;
    default:
      break;
  }
}

// Leaf 0xB: a core per vCPU, one thread each.
void add_topology(CpuidTable& table, unsigned vcpu_count) {
  std::erase_if(table, [](const kvm_cpuid_entry2& entry) { return entry.function == 0xB || entry.function == 0x1F; });
  const auto shift = static_cast<std::uint32_t>(std::bit_width(vcpu_count - 1));
  kvm_cpuid_entry2 level{};
  level.function = 0xB;
  level.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
  level.ebx = 1;
  level.ecx = 1 << 8;  // subleaf 0: threads
  table.push_back(level);
  level.index = 1;
  level.eax = shift;
  level.ebx = vcpu_count;
  level.ecx = 2 << 8 | 1;  // subleaf 1: cores
  table.push_back(level);
}

const kvm_cpuid_entry2* find(const CpuidTable& table, std::uint32_t leaf, std::uint32_t subleaf) {
  for (const auto& entry : table) {
    const bool indexed = (entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) != 0;
    if (entry.function == leaf && (!indexed || entry.index == subleaf)) return &entry;
  }
  return nullptr;
}

}  // namespace

CpuidTable guest_cpuid(CpuidTable supported, unsigned vcpu, unsigned vcpu_count, bool tsc_deadline) {
  for (auto& entry : supported) filter(entry, vcpu_count, tsc_deadline);
  add_topology(supported, vcpu_count);
  set_apic_id(supported, vcpu);
  return supported;
}

void set_apic_id(CpuidTable& table, unsigned vcpu) {
  for (auto& entry : table) {
    if (entry.function == 0x1) entry.ebx = (entry.ebx & 0x00FF'FFFF) | vcpu << 24;
    if (entry.function == 0xB) entry.edx = vcpu;
    if (entry.function == 0x8000'001E) {  // AMD: extended APIC id, core id
      entry.eax = vcpu;
      entry.ebx = (entry.ebx & ~0xFFFFU) | vcpu;
    }
  }
}

std::vector<std::uint32_t> feature_words(const CpuidTable& table) {
  std::vector<std::uint32_t> words;
  for (const auto& word : kCpuFeatureWords) {
    const auto* const entry = find(table, word.leaf, word.subleaf);
    words.push_back(entry == nullptr ? 0 : register_of(*entry, word.reg) & ~word.ignored);
  }
  return words;
}

namespace {
// What KVM writes into the table by itself, as the guest sets CR4, XCR0 and IA32_XSS and turns its local APIC on or off (Intel SDM, CPUID):
// no difference between two tables.
std::uint32_t mirrored_bits(const kvm_cpuid_entry2& entry, CpuidRegister reg) {
  if (entry.function == 0x1 && reg == CpuidRegister::kEdx) return bit(9);                           // APIC
  if (entry.function == 0xD && entry.index <= 1 && reg == CpuidRegister::kEbx) return 0xFFFF'FFFF;  // the XSAVE area's present size
  for (const auto& word : kCpuFeatureWords)
    if (word.leaf == entry.function && word.subleaf == entry.index && word.reg == reg) return word.ignored;
  return 0;
}
}  // namespace

std::string difference(const CpuidTable& wanted, const CpuidTable& got) {
  std::string text;
  for (const auto& want : wanted) {
    const auto* const entry = find(got, want.function, want.index);
    if (entry == nullptr) {
      text += fmt::format("{}{:08x}.{} is gone", text.empty() ? "" : ", ", want.function, want.index);
      continue;
    }
    constexpr std::pair<CpuidRegister, const char*> kRegisters[] = {
        {CpuidRegister::kEax, "eax"}, {CpuidRegister::kEbx, "ebx"}, {CpuidRegister::kEcx, "ecx"}, {CpuidRegister::kEdx, "edx"}};
    for (const auto& [reg, name] : kRegisters) {
      if (((register_of(want, reg) ^ register_of(*entry, reg)) & ~mirrored_bits(want, reg)) != 0)
        text += fmt::format("{}{:08x}.{} {} {:08x} became {:08x}", text.empty() ? "" : ", ", want.function, want.index, name,
                            register_of(want, reg), register_of(*entry, reg));
    }
  }
  return text;
}

}  // namespace understudy
