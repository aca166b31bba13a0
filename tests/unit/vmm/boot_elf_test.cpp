#include <functional>
#include <random>

#include <gtest/gtest.h>

#include "tests/support/kernel_files.h"
#include "vmm/boot/elf.h"

namespace understudy {
namespace {

TEST(Elf, PlansTheSegmentsByPhysicalAddress) {
  ElfFile file;
  std::swap(file.segments[0], file.segments[1]);
  const auto image = file.parse();
  ASSERT_TRUE(image.has_value()) << image.error().text();
  EXPECT_EQ(image->entry, GuestPhysicalAddress{0x100'0100});
  ASSERT_EQ(image->segments.size(), 2U);
  EXPECT_EQ(image->segments[0].start, GuestPhysicalAddress{0x100'0000});
  EXPECT_EQ(image->segments[0].file_offset, 0x1000U);
  EXPECT_EQ(image->segments[0].file_bytes, 0x2000U);
  EXPECT_EQ(image->segments[0].memory_bytes, 0x3000U);
  EXPECT_EQ(image->segments[1].start, GuestPhysicalAddress{0x200'0000});
}

TEST(Elf, LeavesOutWhatIsNotLoaded) {
  ElfFile file;
  file.segments[1].p_type = PT_DYNAMIC;
  file.segments[1].p_offset = ~0ULL;
  const auto image = file.parse();
  ASSERT_TRUE(image.has_value()) << image.error().text();
  EXPECT_EQ(image->segments.size(), 1U);
}

TEST(Elf, SaysWhereNotesAre) {
  ElfFile file;
  file.segments[1].p_type = PT_NOTE;
  file.segments[1].p_align = 8;
  const auto image = file.parse();
  ASSERT_TRUE(image.has_value()) << image.error().text();
  ASSERT_EQ(image->notes.size(), 1U);
  EXPECT_EQ(image->notes[0].file_offset, 0x3000U);
  EXPECT_EQ(image->notes[0].file_bytes, 0x1000U);
  EXPECT_EQ(image->notes[0].alignment, 8U);
  file.segments[1].p_align = 1 << 20;
  EXPECT_EQ(file.parse()->notes.at(0).alignment, 4U);
  file.segments[1].p_filesz = 0x1001;
  EXPECT_FALSE(file.parse().has_value()) << "beyond the file";
}

TEST(Elf, KnowsWhetherItsEntryIsAPhysicalAddressOfItsOwn) {
  ElfFile file;
  EXPECT_TRUE(file.parse()->holds(file.parse()->entry));
  EXPECT_TRUE(file.parse()->holds(GuestPhysicalAddress{0x100'2FFF}));
  file.header.e_entry = 0xFFFF'FFFF'8100'0100;
  EXPECT_FALSE(file.parse()->holds(file.parse()->entry));
  EXPECT_FALSE(file.parse()->holds(GuestPhysicalAddress{0x100'3000}));
}

TEST(Elf, ReadsAFileOf32Bits) {
  const Elf32File file;
  const auto image = file.parse();
  ASSERT_TRUE(image.has_value()) << image.error().text();
  EXPECT_FALSE(image->is_64bit);
  EXPECT_EQ(image->entry, GuestPhysicalAddress{0x20'0010});
  ASSERT_EQ(image->segments.size(), 1U);
  EXPECT_EQ(image->segments[0].start, GuestPhysicalAddress{0x20'0000});
  EXPECT_EQ(image->segments[0].file_offset, 0x80U);
  EXPECT_EQ(image->segments[0].file_bytes, 0x100U);
  EXPECT_EQ(image->segments[0].memory_bytes, 0x1000U);
  ASSERT_EQ(image->notes.size(), 1U);
  const auto bytes = file.bytes();
  for (std::size_t size = 0; size < sizeof(Elf32_Ehdr) + sizeof file.segments; ++size)
    EXPECT_FALSE(parse_elf(std::span{bytes}.first(size), size).has_value()) << size;
}

TEST(Elf, RefusesWithTheReason) {
  struct Case {
    const char* name;
    std::function<void(ElfFile&)> change;
    const char* reason;
  };
  const Case cases[] = {
      {"magic", [](auto& f) { f.header.e_ident[0] = 'E'; }, "is not an ELF file"},
      {"no class", [](auto& f) { f.header.e_ident[EI_CLASS] = 3; }, "is an ELF file of an unknown class (3)"},
      {"class of another processor", [](auto& f) { f.header.e_ident[EI_CLASS] = ELFCLASS32; }, "another processor (machine 62)"},
      {"big endian", [](auto& f) { f.header.e_ident[EI_DATA] = ELFDATA2MSB; }, "another processor"},
      {"ARM", [](auto& f) { f.header.e_machine = EM_AARCH64; }, "another processor (machine 183)"},
      {"object file", [](auto& f) { f.header.e_type = ET_REL; }, "is not an executable (ELF type 1)"},
      {"program header size", [](auto& f) { f.header.e_phentsize = 32; }, "program headers of 32 bytes"},
      {"program headers beyond the file", [](auto& f) { f.header.e_phoff = 1 << 20; }, "is truncated: program header 0"},
      {"program headers' offset wraps", [](auto& f) { f.header.e_phoff = ~0ULL - 8; }, "is truncated: program header"},
      {"too many program headers", [](auto& f) { f.header.e_phnum = 3; }, "is truncated: program header 2"},
      {"no program headers", [](auto& f) { f.header.e_phnum = 0; }, "has nothing to load"},
      {"segment beyond the file", [](auto& f) { f.file_bytes = 0x3800; },
       "is truncated: segment 1 ends at 0x3000 + 0x1000, the file at 0x3800"},
      {"segment's offset wraps", [](auto& f) { f.segments[0].p_offset = ~0ULL; }, "is truncated: segment 0"},
      {"more in the file than in memory", [](auto& f) { f.segments[0].p_memsz = 1; },
       "segment 0 has 0x2000 bytes in the file and 0x1 in memory"},
      {"address wraps", [](auto& f) { f.segments[0].p_paddr = ~0ULL - 0xFF; }, "wraps around"},
      {"overlap", [](auto& f) { f.segments[1].p_paddr = 0x100'2FFF; }, "segments at 0x1000000 and 0x1002fff overlap"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    ElfFile file;
    c.change(file);
    const auto image = file.parse();
    ASSERT_FALSE(image.has_value());
    EXPECT_EQ(image.error().code(), ErrorCode::kInvalid);
    EXPECT_NE(image.error().text().find(c.reason), std::string::npos) << image.error().text();
  }
}

TEST(Elf, EveryTruncationIsRefused) {
  const auto head = ElfFile{}.head();
  for (std::size_t size = 0; size < head.size(); ++size) EXPECT_FALSE(parse_elf(std::span{head}.first(size), size).has_value()) << size;
}

TEST(Elf, SurvivesRandomHeaders) {
  std::mt19937 random{3};
  const auto good = ElfFile{}.head();
  unsigned accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    auto head = good;
    for (int flips = 0; flips < 3; ++flips) head[random() % head.size()] = static_cast<std::byte>(random());
    if (const auto image = parse_elf(head, 0x4000)) {
      ++accepted;
      for (const auto& segment : image->segments) EXPECT_LE(segment.file_offset + segment.file_bytes, 0x4000U);
    }
  }
  EXPECT_GT(accepted, 0U);
}

TEST(Elf, SegmentsMustLieInMemoryAndAboveTheBootData) {
  const MemoryLayout layout{
      {{GuestPhysicalAddress{0}, PageIndex{0}, 0x3000}, {GuestPhysicalAddress{0x1'0000'0000}, PageIndex{0x3000}, 64}}};
  const auto image_at = [](std::uint64_t start, std::uint64_t bytes) {
    return ElfImage{.entry = GuestPhysicalAddress{start}, .segments = {{GuestPhysicalAddress{start}, bytes, 0, 0}}};
  };
  EXPECT_TRUE(check_fits(image_at(0x10'0000, 0x1000), layout, kLowest).has_value());
  EXPECT_TRUE(check_fits(image_at(0x10'0000, 0x2F0'0000), layout, kLowest).has_value());
  EXPECT_TRUE(check_fits(image_at(0x1'0000'0000, 64 * 4096), layout, kLowest).has_value());
  const auto below = check_fits(image_at(0xF'FFFF, 0x1000), layout, kLowest);
  ASSERT_FALSE(below.has_value());
  EXPECT_NE(below.error().text().find("below 0x100000"), std::string::npos) << below.error().text();
  for (const auto& outside : {image_at(0x10'0000, 0x2F0'0001), image_at(0xFFFF'F000, 0x2000), image_at(0x1'0000'0000, 64 * 4096 + 1),
                              image_at(0x300'0000, 1), image_at(1ULL << 50, 1)}) {
    const auto refused = check_fits(outside, layout, kLowest);
    ASSERT_FALSE(refused.has_value());
    EXPECT_NE(refused.error().text().find("outside the guest's 48 MiB"), std::string::npos) << refused.error().text();
  }
}

}  // namespace
}  // namespace understudy
