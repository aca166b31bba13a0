#include "vmm/fingerprint.h"

#include <functional>

#include <gtest/gtest.h>

#include "vmm/cpu_features.h"

namespace understudy {
namespace {

MachineFingerprint fingerprint() {
  return {.layout = {{{GuestPhysicalAddress{0}, PageIndex{0}, 0x4000}}},
          .vcpu_count = 2,
          .tsc_khz = 2'600'000,
          .tsc_scalable = false,
          .xsave_bytes = 4096,
          .cpu_feature_words = std::vector<std::uint32_t>(kCpuFeatureWords.size(), 0xF0),
          .device_ids = {"serial0", "net0:52:54:00:00:00:01", "blk0:67108864"}};
}

TEST(Fingerprint, EqualHostsAreCompatible) { EXPECT_TRUE(compatible(fingerprint(), fingerprint()).has_value()); }

TEST(Fingerprint, ASecondaryMayHaveMore) {
  auto secondary = fingerprint();
  secondary.cpu_feature_words[2] = 0xFF;
  secondary.tsc_khz = 3'000'000;
  secondary.tsc_scalable = true;
  EXPECT_TRUE(compatible(fingerprint(), secondary).has_value());
}

TEST(Fingerprint, NamesWhatTheSecondaryLacks) {
  struct Case {
    const char* name;
    std::function<void(MachineFingerprint&)> change;
    const char* reason;
  };
  const Case cases[] = {
      {"memory", [](auto& f) { f.layout.regions[0].page_count = 0x2000; },
       "memory layouts differ: the primary has 0x4000000 bytes at 0x0, the secondary 0x2000000 bytes at 0x0"},
      {"no memory", [](auto& f) { f.layout.regions.clear(); }, "the secondary none"},
      {"vCPUs", [](auto& f) { f.vcpu_count = 1; }, "vCPU counts differ: the primary has 2, the secondary 1"},
      {"disk size", [](auto& f) { f.device_ids[2] = "blk0:512"; },
       "devices at place 2 differ: the primary has blk0:67108864, the secondary blk0:512"},
      {"device missing", [](auto& f) { f.device_ids.pop_back(); }, "the secondary none"},
      {"device too many", [](auto& f) { f.device_ids.push_back("blk1:512"); }, "the primary has none, the secondary blk1:512"},
      {"XSAVE", [](auto& f) { f.xsave_bytes = 8192; }, "XSAVE sizes differ"},
      {"TSC", [](auto& f) { f.tsc_khz = 2'000'000; }, "TSC frequencies differ: the primary has 2600000 kHz, the secondary 2000000 kHz"},
      {"features",
       [](auto& f) {
         f.cpu_feature_words[2] = 0x70;
         f.cpu_feature_words[3] = 0xD0;
       },
       "features that the guest uses: smep, waitpkg; give both nodes a [vm] cpu_model"},
      {"feature words", [](auto& f) { f.cpu_feature_words.pop_back(); }, "feature words"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    auto secondary = fingerprint();
    c.change(secondary);
    const auto refused = compatible(fingerprint(), secondary);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code(), ErrorCode::kRefused);
    EXPECT_NE(refused.error().text().find(c.reason), std::string::npos) << refused.error().text();
  }
}

}  // namespace
}  // namespace understudy
