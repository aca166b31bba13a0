// CPU models: named sets of features, so that hosts of unlike CPUs can carry one guest, and features by the names that Linux has for them.
// Pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "net/base/result.h"
#include "vmm/cpuid.h"

namespace understudy {

inline constexpr std::string_view kHostCpuModel = "host";

// "host", "x86-64-v2", "x86-64-v3", "x86-64-v4". A level has what the System V psABI (x86-64, 3.1.1) demands of it and what every CPU of
// that level has besides: v3 also AES, PCLMULQDQ, RDRAND, SMEP and FSGSBASE; v4 also SMAP, RDSEED, ADX, CLFLUSHOPT and CLWB.
std::span<const std::string_view> cpu_model_names();

// Takes out of `table` (guest_cpuid's) every feature that is not in the model; what the model demands must be there. Paravirtual features,
// the mitigations' controls and what KVM emulates on every host (x2APIC, TSC deadline) stay as they are. "host" changes nothing.
// kInvalid: no such model, and which there are; kRefused: the host lacks features of it, by name.
Result<void> apply_cpu_model(std::string_view model, CpuidTable& table);

// Names of the bits of a word of kCpuFeatureWords, as in Linux's /proc/cpuinfo where it has one: {"avx2", "bmi2"}. A bit without a name is
// written as its place: "cpuid-7.0-ecx-17".
std::vector<std::string> feature_names(std::size_t word, std::uint32_t bits);

// What a Linux guest is to be told on its command line, with a leading space, when KVM shows it features that were not set and whose
// instructions a KVM without hardware virtualization cannot emulate in ring 0: " clearcpuid=popcnt,smap noxsave". Empty if there is nothing
// to say. (Linux kernel-parameters.txt: clearcpuid, noxsave.)
std::string linux_feature_parameters(const CpuidTable& wanted, const CpuidTable& visible);

}  // namespace understudy
