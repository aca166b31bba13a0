#include "vmm/cpu_model.h"

#include <array>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "vmm/cpu_feature_names.h"

namespace understudy {
namespace {

// Places in kCpuFeatureWords.
enum Word : std::size_t {
  k1Ecx,
  k1Edx,
  k7Ebx,
  k7Ecx,
  k7Edx,
  k71Eax,
  kXsaveStates,
  kXsaveKinds,
  kExtendedEcx,
  kExtendedEdx,
  k80000008Ebx,
  kParavirtual,
};
static_assert(kParavirtual + 1 == kCpuFeatureWords.size());

using Words = std::array<std::uint32_t, kCpuFeatureWords.size()>;

constexpr std::uint32_t bits(std::initializer_list<unsigned> indices) {
  std::uint32_t mask = 0;
  for (const unsigned index : indices) mask |= std::uint32_t{1} << index;
  return mask;
}

constexpr Words join(Words left, const Words& right) {
  for (std::size_t i = 0; i < left.size(); ++i) left[i] |= right[i];
  return left;
}

constexpr Words make_v2() {
  Words words{};
  words[k1Edx] = 0x078B'FBFF;                   // FPU to SSE2, without what is thermal or another vendor's
  words[k1Ecx] = bits({0, 9, 13, 19, 20, 23});  // SSE3, SSSE3, CX16, SSE4.1, SSE4.2, POPCNT
  words[kExtendedEcx] = bits({0});              // LAHF
  words[kExtendedEdx] = bits({11, 20, 29});     // SYSCALL, NX, LM
  return words;
}

constexpr Words make_v3() {
  Words words = make_v2();
  words[k1Ecx] |= bits({1, 12, 22, 25, 26, 28, 29, 30});  // PCLMULQDQ, FMA, MOVBE, AES, XSAVE, AVX, F16C, RDRAND
  words[k7Ebx] |= bits({0, 3, 5, 7, 8});                  // FSGSBASE, BMI1, AVX2, SMEP, BMI2
  words[kExtendedEcx] |= bits({5});                       // LZCNT
  words[kXsaveStates] |= bits({0, 1, 2});                 // x87, SSE, AVX
  words[kXsaveKinds] |= bits({0});                        // XSAVEOPT
  return words;
}

constexpr Words make_v4() {
  Words words = make_v3();
  words[k7Ebx] |= bits({16, 17, 28, 30, 31});  // AVX-512 F, DQ, CD, BW, VL
  words[k7Ebx] |= bits({18, 19, 20, 23, 24});  // RDSEED, ADX, SMAP, CLFLUSHOPT, CLWB
  words[kXsaveStates] |= bits({5, 6, 7});      // opmask, ZMM
  return words;
}

// Whatever the host has of these stays: other hosts of the pair are compared bit by bit all the same (compatible()).
constexpr Words make_kept() {
  Words words{};
  words[k1Ecx] = bits({21, 24, 31});                     // x2APIC, TSC deadline, hypervisor
  words[k1Edx] = bits({28});                             // HTT, by the vCPU count
  words[k7Edx] = bits({10, 26, 27, 28, 31});             // MD_CLEAR, SPEC_CTRL, STIBP, L1D flush, SSBD
  words[k80000008Ebx] = bits({12, 14, 15, 24, 25, 26});  // AMD's IBPB, IBRS, STIBP, SSBD
  words[kExtendedEdx] = bits({27});                      // RDTSCP
  words[kParavirtual] = ~std::uint32_t{0};
  return words;
}

// The extended leaf's EDX repeats leaf 1's on AMD.
constexpr std::uint32_t kRepeated = 0x0183'F3FF;

struct Model {
  std::string_view name;
  Words demanded;
};
constexpr std::array kModels = {Model{"x86-64-v2", make_v2()}, Model{"x86-64-v3", make_v3()}, Model{"x86-64-v4", make_v4()}};
constexpr std::array kNames = {kHostCpuModel, kModels[0].name, kModels[1].name, kModels[2].name};

std::uint32_t* register_in(kvm_cpuid_entry2& entry, CpuidRegister reg) {
  switch (reg) {
    case CpuidRegister::kEax:
      return &entry.eax;
    case CpuidRegister::kEbx:
      return &entry.ebx;
    case CpuidRegister::kEcx:
      return &entry.ecx;
    case CpuidRegister::kEdx:
      return &entry.edx;
  }
  return &entry.eax;
}

void take_out(CpuidTable& table, const Words& allowed) {
  for (auto& entry : table) {
    const bool indexed = (entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) != 0;
    for (std::size_t i = 0; i < kCpuFeatureWords.size(); ++i) {
      const auto& word = kCpuFeatureWords[i];
      if (entry.function == word.leaf && (!indexed || entry.index == word.subleaf)) *register_in(entry, word.reg) &= allowed[i];
    }
    // The sizes and offsets of XSAVE states that are not there.
    if (entry.function == 0xD && entry.index >= 2 && (entry.index >= 32 || (allowed[kXsaveStates] >> entry.index & 1) == 0))
      entry.eax = entry.ebx = entry.ecx = entry.edx = 0;
  }
}

std::string lacking(const std::vector<std::uint32_t>& present, const Words& demanded) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < demanded.size(); ++i) {
    for (auto& name : feature_names(i, demanded[i] & ~present[i])) names.push_back(std::move(name));
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

std::span<const std::string_view> cpu_model_names() { return kNames; }

Result<void> apply_cpu_model(std::string_view model, CpuidTable& table) {
  if (model == kHostCpuModel) return {};
  for (const auto& known : kModels) {
    if (known.name != model) continue;
    if (const std::string missing = lacking(feature_words(table), known.demanded); !missing.empty())
      return Error{ErrorCode::kRefused,
                   fmt::format("CPU model {}: this host lacks {}; choose a lower model for both hosts", model, missing)};
    Words allowed = join(known.demanded, make_kept());
    allowed[kExtendedEdx] |= allowed[k1Edx] & kRepeated;
    take_out(table, allowed);
    return {};
  }
  return Error{ErrorCode::kInvalid, fmt::format("there is no CPU model '{}'; choose one of {}", model, fmt::join(kNames, ", "))};
}

std::vector<std::string> feature_names(std::size_t word, std::uint32_t mask) {
  std::vector<std::string> names;
  for (unsigned index = 0; index < 32; ++index) {
    if ((mask >> index & 1) != 0) names.push_back(cpu_feature_name(word, index));
  }
  return names;
}

std::string linux_feature_parameters(const CpuidTable& wanted, const CpuidTable& visible) {
  struct Feature {
    std::size_t word;
    unsigned index;
  };
  // What a kernel itself executes once it sees the feature, and an emulator of ring 0 may not know.
  constexpr Feature kKernels[] = {{k1Ecx, 23}, {k7Ebx, 20}, {k7Ebx, 7},  {k7Ebx, 0},  {k7Ebx, 9},
                                  {k7Edx, 4},  {k1Ecx, 13}, {k1Ecx, 26}, {k1Ecx, 30}, {k7Ebx, 18}};
  const auto set = feature_words(wanted);
  const auto seen = feature_words(visible);
  std::vector<std::string> names;
  for (const auto& [word, index] : kKernels) {
    if (((seen[word] & ~set[word]) >> index & 1) != 0) names.push_back(cpu_feature_name(word, index));
  }
  if (names.empty()) return {};
  const bool xsave = ((seen[k1Ecx] & ~set[k1Ecx]) >> 26 & 1) != 0;
  return fmt::format(" clearcpuid={}{}", fmt::join(names, ","), xsave ? " noxsave" : "");
}

}  // namespace understudy
