#include "vmm/cpu_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "vmm/cpu_feature_names.h"

namespace understudy {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

kvm_cpuid_entry2 leaf(std::uint32_t function, std::uint32_t index, std::uint32_t value, bool indexed = false) {
  kvm_cpuid_entry2 entry{};
  entry.function = function;
  entry.index = index;
  entry.flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0;
  entry.eax = entry.ebx = entry.ecx = entry.edx = value;
  return entry;
}

// A host with everything.
CpuidTable all() {
  return {leaf(0x1, 0, ~0U),        leaf(0x7, 0, ~0U, true),   leaf(0x7, 1, ~0U, true),   leaf(0xD, 0, ~0U, true),
          leaf(0xD, 1, ~0U, true),  leaf(0xD, 2, ~0U, true),   leaf(0xD, 5, ~0U, true),   leaf(0xD, 9, ~0U, true),
          leaf(0xD, 33, ~0U, true), leaf(0x8000'0001, 0, ~0U), leaf(0x8000'0008, 0, ~0U), leaf(0x4000'0001, 0, ~0U)};
}

// Whether `table` has the feature of that name.
bool has(const CpuidTable& table, const std::string& name) {
  const auto words = feature_words(table);
  for (std::size_t word = 0; word < words.size(); ++word) {
    for (unsigned bit = 0; bit < 32; ++bit) {
      if (cpu_feature_name(word, bit) == name) return (words[word] >> bit & 1) != 0;
    }
  }
  ADD_FAILURE() << "no feature is called " << name;
  return false;
}

TEST(CpuModel, HostChangesNothing) {
  auto table = all();
  ASSERT_TRUE(apply_cpu_model("host", table));
  EXPECT_EQ(difference(all(), table), "");
}

TEST(CpuModel, ALevelHasItsFeaturesAndNoOthers) {
  struct Case {
    const char* feature;
    bool v2, v3, v4;
  };
  const Case cases[] = {
      {"sse2", true, true, true},        {"popcnt", true, true, true},
      {"cx16", true, true, true},        {"lm", true, true, true},
      {"x2apic", true, true, true},      {"kvmclock", true, true, true},
      {"spec_ctrl", true, true, true},   {"avx2", false, true, true},
      {"xsave", false, true, true},      {"xsaveopt", false, true, true},
      {"avx_state", false, true, true},  {"smep", false, true, true},
      {"avx512f", false, false, true},   {"smap", false, false, true},
      {"rdseed", false, false, true},    {"opmask_state", false, false, true},
      {"xsaves", false, false, false},   {"pku", false, false, false},
      {"la57", false, false, false},     {"amx_tile", false, false, false},
      {"sha_ni", false, false, false},   {"pkru_state", false, false, false},
      {"sse4a", false, false, false},    {"pdpe1gb", false, false, false},
      {"avx_vnni", false, false, false}, {"clzero", false, false, false},
  };
  const std::pair<const char*, bool Case::*> levels[] = {{"x86-64-v2", &Case::v2}, {"x86-64-v3", &Case::v3}, {"x86-64-v4", &Case::v4}};
  for (const auto& [level, expected] : levels) {
    auto table = all();
    ASSERT_TRUE(apply_cpu_model(level, table));
    for (const auto& c : cases) EXPECT_EQ(has(table, c.feature), c.*expected) << level << " " << c.feature;
  }
}

// Two hosts of unlike CPUs offer the same.
TEST(CpuModel, HidesWhatOneHostHasMore) {
  auto newer = all();
  auto older = all();
  older[1].ecx = older[1].edx = 0;  // leaf 7
  older[2].eax = 0;                 // leaf 7.1
  for (auto* const table : {&newer, &older}) ASSERT_TRUE(apply_cpu_model("x86-64-v3", *table));
  newer[1].edx = older[1].edx;  // mitigations are kept as they are
  EXPECT_EQ(feature_words(newer), feature_words(older));
}

TEST(CpuModel, StatesThatAreTakenOutHaveNoPlaceInXsave) {
  auto table = all();
  ASSERT_TRUE(apply_cpu_model("x86-64-v3", table));
  const auto at = [&](std::uint32_t index) {
    for (const auto& entry : table) {
      if (entry.function == 0xD && entry.index == index) return entry.eax;
    }
    return ~0U;
  };
  EXPECT_NE(at(2), 0U) << "AVX";
  EXPECT_EQ(at(5), 0U) << "opmask";
  EXPECT_EQ(at(9), 0U) << "PKRU";
  EXPECT_EQ(at(33), 0U);
}

TEST(CpuModel, AHostThatLacksFeaturesIsToldWhich) {
  auto table = all();
  table[1].ebx &= ~(1U << 5 | 1U << 8);
  const auto refused = apply_cpu_model("x86-64-v3", table);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kRefused);
  EXPECT_THAT(refused.error().text(), HasSubstr("CPU model x86-64-v3: this host lacks avx2, bmi2;"));
  EXPECT_TRUE(apply_cpu_model("x86-64-v2", table));
}

TEST(CpuModel, AnUnknownNameIsAnsweredWithTheKnownOnes) {
  auto table = all();
  const auto refused = apply_cpu_model("pentium", table);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::kInvalid);
  EXPECT_THAT(refused.error().text(), HasSubstr("choose one of host, x86-64-v2, x86-64-v3, x86-64-v4"));
}

TEST(CpuFeatureNames, ABitWithoutANameIsItsPlace) {
  EXPECT_THAT(feature_names(2, 1U << 5 | 1U << 22), ElementsAre("avx2", "cpuid-7.0-ebx-22"));
  EXPECT_THAT(feature_names(0, 0), ElementsAre());
}

TEST(LinuxFeatureParameters, NameWhatIsSeenUnasked) {
  auto wanted = all();
  EXPECT_EQ(linux_feature_parameters(wanted, all()), "");
  wanted[0].ecx &= ~(1U << 23 | 1U << 26);  // POPCNT, XSAVE
  wanted[1].ebx &= ~(1U << 20);             // SMAP
  wanted[1].ebx &= ~(1U << 5);              // AVX2, which no kernel uses unasked
  EXPECT_EQ(linux_feature_parameters(wanted, all()), " clearcpuid=popcnt,smap,xsave noxsave");
  EXPECT_EQ(linux_feature_parameters(all(), wanted), "") << "what is missing is not used anyway";
}

}  // namespace
}  // namespace understudy
