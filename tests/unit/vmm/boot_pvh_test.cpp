// PVH: the note that names the entry point, and the start info byte by byte.
#include <cstring>
#include <random>

#include <gtest/gtest.h>

#include "tests/support/boot_bytes.h"
#include "tests/support/kernel_files.h"
#include "vmm/boot/pvh.h"

namespace understudy {
namespace {

std::vector<std::byte> join(std::initializer_list<std::vector<std::byte>> parts) {
  std::vector<std::byte> all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}
std::string found(ConstBytes notes, std::size_t alignment = 4) {
  const auto entry = find_pvh_entry(notes, alignment);
  if (!entry) return entry.error().text();
  return *entry ? std::to_string((*entry)->raw()) : "none";
}

TEST(PvhNote, IsFoundAmongOthers) {
  const std::byte four[] = {std::byte{0x40}, std::byte{0}, std::byte{0x10}, std::byte{0}};
  EXPECT_EQ(found({}), "none");
  EXPECT_EQ(found(make_pvh_note(0x1000000)), "16777216");
  EXPECT_EQ(found(make_note("Xen", 18, four)), "1048640") << "of a 32-bit kernel";
  EXPECT_EQ(found(join({make_note("GNU", 18, four), make_note("Xen", 17, four), make_note("Linux", 1, {}), make_pvh_note(7)})), "7");
  EXPECT_EQ(found(make_note("Xen2", 18, four)), "none");
  EXPECT_EQ(found(make_note("Xe", 18, four)), "none");
}

TEST(PvhNote, MalformedIsRefused) {
  EXPECT_EQ(found(make_pvh_note(1ULL << 32)), "has a PVH entry point above 4 GiB: 0x100000000");
  EXPECT_EQ(found(make_note("Xen", 18, {})), "has a PVH entry point of 0 bytes, 4 or 8 are expected");
  const auto note = make_pvh_note(7);
  for (std::size_t size = 12; size < note.size(); ++size)
    EXPECT_EQ(found(std::span{note}.first(size)), "has a note that ends beyond its segment") << size;
  auto endless = note;
  std::memset(endless.data(), 0xFF, 8);
  EXPECT_EQ(found(endless), "has a note that ends beyond its segment");
}

TEST(PvhNote, EightByteAlignmentIsKept) {
  // A name of 4 bytes and a content of 4, each padded to 8.
  std::vector<std::byte> first(12 + 8 + 8);
  const Elf64_Nhdr header{4, 4, 5};
  std::memcpy(first.data(), &header, sizeof header);
  std::vector<std::byte> second(12 + 8 + 8);
  const Elf64_Nhdr pvh{4, 8, 18};
  std::memcpy(second.data(), &pvh, sizeof pvh);
  std::memcpy(second.data() + 12, "Xen", 4);
  second[20] = std::byte{9};
  EXPECT_EQ(found(join({first, second}), 8), "9");
}

TEST(PvhNote, SurvivesRandomNotes) {
  std::mt19937 random{5};
  const std::byte four[4] = {};
  const auto good = join({make_note("GNU", 1, four), make_pvh_note(0x1234)});
  unsigned entries = 0;
  for (int round = 0; round < 20'000; ++round) {
    auto notes = good;
    notes[random() % notes.size()] = static_cast<std::byte>(random());
    const auto entry = find_pvh_entry(notes, round % 2 == 0 ? 4 : 8);
    if (entry && *entry) ++entries;
  }
  EXPECT_GT(entries, 0U);
}

TEST(PvhStartInfo, TellsTheKernelWhatItNeeds) {
  const boot_map::E820Range e820[] = {{0, 0x9'FC00, boot_map::E820Kind::kRam}, {0x9'FC00, 0x400, boot_map::E820Kind::kReserved}};
  constexpr GuestPhysicalAddress kAt{0x6000};
  const auto bytes = make_pvh_start_info(
      {.e820 = e820, .initrd = InitrdPlace{GuestPhysicalAddress{0x300'0000}, 0x1234}, .rsdp = GuestPhysicalAddress{0xE'0000}}, kAt);
  ASSERT_EQ(bytes.size(), 56U + 32 + 2 * 24);
  EXPECT_EQ(value_at<std::uint32_t>(bytes, 0), 0x336E'C578U);
  EXPECT_EQ(value_at<std::uint32_t>(bytes, 4), 1U);
  EXPECT_EQ(value_at<std::uint32_t>(bytes, 12), 1U);
  EXPECT_EQ(value_at<std::uint64_t>(bytes, 16), 0x6038U) << "modules";
  EXPECT_EQ(value_at<std::uint64_t>(bytes, 24), 0x2'0000U) << "command line";
  EXPECT_EQ(value_at<std::uint64_t>(bytes, 32), 0xE'0000U) << "RSDP";
  EXPECT_EQ(value_at<std::uint64_t>(bytes, 40), 0x6058U) << "memory map";
  EXPECT_EQ(value_at<std::uint32_t>(bytes, 48), 2U);
  EXPECT_EQ(value_at<std::uint64_t>(bytes, 56), 0x300'0000U);
  EXPECT_EQ(value_at<std::uint64_t>(bytes, 64), 0x1234U);
  EXPECT_EQ(value_at<std::uint64_t>(bytes, 88 + 24), 0x9'FC00U);
  EXPECT_EQ(value_at<std::uint64_t>(bytes, 88 + 32), 0x400U);
  EXPECT_EQ(value_at<std::uint32_t>(bytes, 88 + 40), 2U);

  const auto without = make_pvh_start_info({.e820 = e820}, kAt);
  ASSERT_EQ(without.size(), 56U + 2 * 24);
  EXPECT_EQ(value_at<std::uint32_t>(without, 12), 0U);
  EXPECT_EQ(value_at<std::uint64_t>(without, 16), 0U);
  EXPECT_EQ(value_at<std::uint64_t>(without, 40), 0x6038U);
}

}  // namespace
}  // namespace understudy
