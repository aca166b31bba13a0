// The order and the names of the CPUID words in a MachineFingerprint.
#pragma once

#include <array>
#include <cstdint>

namespace understudy {

enum class CpuidRegister : std::uint8_t { kEax, kEbx, kEcx, kEdx };

struct CpuFeatureWord {
  std::uint32_t leaf;
  std::uint32_t subleaf;
  CpuidRegister reg;
  std::uint32_t ignored;  // bits that mirror a register (OSXSAVE, OSPKE): state, not a feature
};

// Appended to, never reordered: both nodes compare by place.
inline constexpr std::array kCpuFeatureWords = {
    CpuFeatureWord{0x1, 0, CpuidRegister::kEcx, 1U << 27},  CpuFeatureWord{0x1, 0, CpuidRegister::kEdx, 0},
    CpuFeatureWord{0x7, 0, CpuidRegister::kEbx, 0},         CpuFeatureWord{0x7, 0, CpuidRegister::kEcx, 1U << 4},
    CpuFeatureWord{0x7, 0, CpuidRegister::kEdx, 0},         CpuFeatureWord{0x7, 1, CpuidRegister::kEax, 0},
    CpuFeatureWord{0xD, 0, CpuidRegister::kEax, 0},         CpuFeatureWord{0xD, 1, CpuidRegister::kEax, 0},
    CpuFeatureWord{0x8000'0001, 0, CpuidRegister::kEcx, 0}, CpuFeatureWord{0x8000'0001, 0, CpuidRegister::kEdx, 0},
    CpuFeatureWord{0x8000'0008, 0, CpuidRegister::kEbx, 0}, CpuFeatureWord{0x4000'0001, 0, CpuidRegister::kEax, 0},
};

}  // namespace understudy
