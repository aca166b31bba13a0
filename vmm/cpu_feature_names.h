// Names of CPU features, for people and for Linux's command line: those of Linux's /proc/cpuinfo where it has one (x86 cpufeatures.h).
#pragma once

#include <cstddef>
#include <string>

namespace understudy {

// Of bit `index` (0 to 31) in word `word` of kCpuFeatureWords; a bit without a name is written as its place: "cpuid-7.0-ecx-17". Pure.
std::string cpu_feature_name(std::size_t word, unsigned index);

}  // namespace understudy
