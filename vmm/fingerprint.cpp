#include "vmm/fingerprint.h"

#include <algorithm>

#include "vmm/clock_restore.h"
#include "vmm/cpu_feature_names.h"
#include "vmm/cpu_features.h"

namespace understudy {
namespace {

std::string hex(std::uint64_t value) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string digits;
  do digits.insert(digits.begin(), kDigits[value % 16]);
  while ((value /= 16) != 0);
  return "0x" + digits;
}

std::string describe(const MemoryLayout& layout) {
  std::string text;
  for (const auto& region : layout.regions)
    text += (text.empty() ? "" : ", ") + hex(std::uint64_t{region.page_count} * kPageSizeBytes) + " bytes at " + hex(region.start.raw());
  return text.empty() ? "none" : text;
}

Error refused(std::string what, const std::string& primary, const std::string& secondary, const char* mend) {
  return Error{ErrorCode::kRefused, std::move(what) + " differ: the primary has " + primary + ", the secondary " + secondary + "; " + mend};
}

Result<void> check_devices(const std::vector<std::string>& primary, const std::vector<std::string>& secondary) {
  static const std::string kNone = "none";
  for (std::size_t i = 0; i < std::max(primary.size(), secondary.size()); ++i) {
    const std::string& left = i < primary.size() ? primary[i] : kNone;
    const std::string& right = i < secondary.size() ? secondary[i] : kNone;
    if (left != right) return refused("devices at place " + std::to_string(i), left, right, "configure both nodes alike");
  }
  return {};
}

Result<void> check_features(const std::vector<std::uint32_t>& primary, const std::vector<std::uint32_t>& secondary) {
  if (primary.size() != kCpuFeatureWords.size() || secondary.size() != kCpuFeatureWords.size())
    return Error{ErrorCode::kRefused, "CPU feature words: the primary sends " + std::to_string(primary.size()) + ", the secondary " +
                                          std::to_string(secondary.size()) + ", known are " + std::to_string(kCpuFeatureWords.size()) +
                                          "; run the same version on both hosts"};
  std::string missing;
  for (std::size_t word = 0; word < primary.size(); ++word) {
    for (unsigned bit = 0; bit < 32; ++bit) {
      if (((primary[word] & ~secondary[word]) >> bit & 1) != 0) missing += (missing.empty() ? "" : ", ") + cpu_feature_name(word, bit);
    }
  }
  if (missing.empty()) return {};
  return Error{ErrorCode::kRefused, "the secondary's CPU lacks features that the guest uses: " + missing +
                                        "; give both nodes a [vm] cpu_model that both hosts have, or start the guest on the older one"};
}

}  // namespace

Result<void> compatible(const MachineFingerprint& primary, const MachineFingerprint& secondary) {
  if (primary.layout != secondary.layout)
    return refused("memory layouts", describe(primary.layout), describe(secondary.layout), "configure both nodes alike");
  if (primary.vcpu_count != secondary.vcpu_count)
    return refused("vCPU counts", std::to_string(primary.vcpu_count), std::to_string(secondary.vcpu_count), "configure both nodes alike");
  US_TRY(check_devices(primary.device_ids, secondary.device_ids));
  if (primary.xsave_bytes != secondary.xsave_bytes)
    return refused("XSAVE sizes", std::to_string(primary.xsave_bytes) + " bytes", std::to_string(secondary.xsave_bytes) + " bytes",
                   "pair hosts of one CPU model");
  if (!tsc_frequency_matches(primary.tsc_khz, secondary.tsc_khz) && !secondary.tsc_scalable)
    return refused("TSC frequencies", std::to_string(primary.tsc_khz) + " kHz", std::to_string(secondary.tsc_khz) + " kHz, unscalable",
                   "pair hosts of one TSC frequency");
  return check_features(primary.cpu_feature_words, secondary.cpu_feature_words);
}

}  // namespace understudy
