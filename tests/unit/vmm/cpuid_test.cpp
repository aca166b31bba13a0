#include "vmm/cpuid.h"

#include <gtest/gtest.h>

namespace understudy {
namespace {

kvm_cpuid_entry2 leaf(std::uint32_t function, std::uint32_t index, std::uint32_t eax, std::uint32_t ebx, std::uint32_t ecx,
                      std::uint32_t edx, bool indexed = false) {
  kvm_cpuid_entry2 entry{};
  entry.function = function;
  entry.index = index;
  entry.flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0;
  entry.eax = eax;
  entry.ebx = ebx;
  entry.ecx = ecx;
  entry.edx = edx;
  return entry;
}

const CpuidTable kAll = {leaf(0x1, 0, ~0U, ~0U, ~0U, ~0U),         leaf(0x6, 0, ~0U, ~0U, ~0U, ~0U),
                         leaf(0x7, 0, 1, ~0U, ~0U, ~0U, true),     leaf(0x7, 1, ~0U, ~0U, ~0U, ~0U, true),
                         leaf(0xA, 0, ~0U, ~0U, ~0U, ~0U),         leaf(0xB, 0, ~0U, ~0U, ~0U, ~0U, true),
                         leaf(0xD, 0, ~0U, ~0U, ~0U, ~0U, true),   leaf(0xD, 18, ~0U, ~0U, ~0U, ~0U, true),
                         leaf(0x8000'0001, 0, ~0U, ~0U, ~0U, ~0U), leaf(0x4000'0001, 0, ~0U, ~0U, ~0U, ~0U)};

const kvm_cpuid_entry2& at(const CpuidTable& table, std::uint32_t function, std::uint32_t index = 0) {
  for (const auto& entry : table) {
    if (entry.function == function && entry.index == index) return entry;
  }
  ADD_FAILURE() << "no leaf " << function;
  return table.front();
}

bool bit(std::uint32_t word, unsigned index) { return (word >> index & 1) != 0; }

TEST(Cpuid, TakesOutWhatCannotBeCarriedOver) {
  const auto table = guest_cpuid(kAll, 0, 4, true);
  EXPECT_FALSE(bit(at(table, 0x1).ecx, 3)) << "MONITOR";
  EXPECT_FALSE(bit(at(table, 0x1).ecx, 5)) << "VMX";
  EXPECT_FALSE(bit(at(table, 0x8000'0001).ecx, 2)) << "SVM";
  EXPECT_EQ(at(table, 0xA).eax, 0U) << "performance counters";
  EXPECT_EQ(at(table, 0x6).eax, 4U) << "ARAT alone";
  EXPECT_FALSE(bit(at(table, 0x7).edx, 24)) << "AMX";
  EXPECT_EQ(at(table, 0xD).eax & (3U << 17), 0U) << "AMX state";
  EXPECT_EQ(at(table, 0xD, 18).eax, 0U);
  const std::uint32_t paravirtual = at(table, 0x4000'0001).eax;
  EXPECT_FALSE(bit(paravirtual, 4)) << "asynchronous page faults";
  EXPECT_FALSE(bit(paravirtual, 11)) << "interrupts by hypercall";
  EXPECT_TRUE(bit(paravirtual, 3)) << "kvmclock";
  EXPECT_TRUE(bit(paravirtual, 24)) << "stable kvmclock";
}

TEST(Cpuid, SaysThatThereIsAHypervisorAndWhatTimerThereIs) {
  EXPECT_TRUE(bit(at(guest_cpuid(kAll, 0, 1, true), 0x1).ecx, 31));
  EXPECT_TRUE(bit(at(guest_cpuid(kAll, 0, 1, true), 0x1).ecx, 24));
  EXPECT_FALSE(bit(at(guest_cpuid(kAll, 0, 1, false), 0x1).ecx, 24));
}

TEST(Cpuid, EveryVcpuIsACoreOfItsOwn) {
  for (const unsigned count : {1U, 2U, 3U, 8U}) {
    auto table = guest_cpuid(kAll, count - 1, count, true);
    EXPECT_EQ(at(table, 0x1).ebx >> 24, count - 1);
    EXPECT_EQ(at(table, 0x1).ebx >> 16 & 0xFF, count);
    EXPECT_EQ(bit(at(table, 0x1).edx, 28), count > 1);
    EXPECT_EQ(at(table, 0xB, 0).ebx, 1U);
    EXPECT_EQ(at(table, 0xB, 1).ebx, count);
    EXPECT_GE(1U << at(table, 0xB, 1).eax, count);
    EXPECT_EQ(at(table, 0xB, 1).edx, count - 1);
    set_apic_id(table, 0);
    EXPECT_EQ(difference(table, guest_cpuid(kAll, 0, count, true)), "");
  }
}

TEST(Cpuid, FeatureWordsLeaveOutWhatMirrorsARegister) {
  const auto words = feature_words(kAll);
  ASSERT_EQ(words.size(), kCpuFeatureWords.size());
  EXPECT_EQ(words[0], ~(1U << 27)) << "OSXSAVE";
  EXPECT_EQ(words[3], ~(1U << 4)) << "OSPKE";
  EXPECT_EQ(feature_words({}), std::vector<std::uint32_t>(kCpuFeatureWords.size()));
}

TEST(Cpuid, NamesWhatDiffers) {
  auto other = kAll;
  other[0].ecx = 5;
  EXPECT_EQ(difference(kAll, other), "00000001.0 ecx ffffffff became 00000005");
  other.erase(other.begin());
  EXPECT_EQ(difference(kAll, other), "00000001.0 is gone");
}

TEST(Cpuid, WhatKvmKeepsUpToDateIsNoDifference) {
  CpuidTable before(3);
  before[0].function = 0x1;
  before[1].function = 0x7;
  before[2].function = 0xD;
  before[2].ebx = 2696;
  CpuidTable after = before;
  after[0].ecx = 1U << 27;
  after[0].edx = 1U << 9;
  after[1].ecx = 1U << 4;
  after[2].ebx = 576;
  EXPECT_EQ(difference(before, after), "");
  after[2].ecx = 1;
  EXPECT_EQ(difference(before, after), "0000000d.0 ecx 00000000 became 00000001");
}

}  // namespace
}  // namespace understudy
