#include <asm/bootparam.h>
#include <cstring>
#include <functional>
#include <random>

#include <gtest/gtest.h>

#include "tests/support/kernel_files.h"
#include "vmm/boot/bzimage.h"

namespace understudy {
namespace {

MemoryLayout layout_of(std::uint64_t bytes) { return {{{GuestPhysicalAddress{0}, PageIndex{0}, bytes / kPageSizeBytes}}}; }

TEST(BzImage, SaysWhereItsKernelIsAndWhatItNeeds) {
  const BzImageFile file;
  const auto image = file.parse();
  ASSERT_TRUE(image.has_value()) << image.error().text();
  EXPECT_EQ(image->file_offset, 3U * 512);
  EXPECT_EQ(image->file_bytes, 0x400U);
  EXPECT_EQ(image->preferred_start, GuestPhysicalAddress{0x100'0000});
  EXPECT_EQ(image->alignment_bytes, 0x20'0000U);
  EXPECT_TRUE(image->relocatable);
  EXPECT_EQ(image->init_bytes, 0x80'0000U);
  EXPECT_EQ(image->max_command_line_bytes, 2047U);
  EXPECT_EQ(image->initrd_end, 0x8000'0000U);
  ASSERT_EQ(image->setup_header.size(), 0x26CU - kSetupHeaderOffset);
  EXPECT_EQ(std::memcmp(image->setup_header.data(), &file.header, image->setup_header.size()), 0);
}

TEST(BzImage, NoSetupSectorsMeansFour) {
  BzImageFile file;
  file.header.setup_sects = 0;
  file.file_bytes = 5 * 512 + 0x400;
  const auto image = file.parse();
  ASSERT_TRUE(image.has_value()) << image.error().text();
  EXPECT_EQ(image->file_offset, 5U * 512);
}

TEST(BzImage, RefusesWithTheReason) {
  struct Case {
    const char* name;
    std::function<void(BzImageFile&)> change;
    const char* reason;
  };
  const Case cases[] = {
      {"magic", [](auto& f) { f.header.header = 1; }, "is not a Linux boot image"},
      {"boot flag", [](auto& f) { f.header.boot_flag = 0; }, "boot flag"},
      {"old protocol", [](auto& f) { f.header.version = 0x20B; }, "has boot protocol 2.11, needed is 2.12"},
      {"header too short", [](auto& f) { f.set_end(0x263); }, "setup header that ends at 0x263, expected is 0x264 to 0x290"},
      {"header too long", [](auto& f) { f.set_end(0x291); }, "setup header that ends at 0x291"},
      {"zImage", [](auto& f) { f.header.loadflags = 0; }, "is a zImage"},
      {"32 bits", [](auto& f) { f.header.xloadflags = XLF_CAN_BE_LOADED_ABOVE_4G; }, "has no 64-bit entry point"},
      {"no alignment", [](auto& f) { f.header.kernel_alignment = 0; }, "alignment of 0x0 bytes"},
      {"odd alignment", [](auto& f) { f.header.kernel_alignment = 0x30'0000; }, "alignment of 0x300000 bytes"},
      {"no command line", [](auto& f) { f.header.cmdline_size = 0; }, "takes no command line"},
      {"cut", [](auto& f) { --f.file_bytes; }, "is truncated: its kernel ends at 0x600 + 0x400, the file at 0x9ff"},
      {"cut in the setup", [](auto& f) { f.file_bytes = 0x400; }, "is truncated: its kernel ends at 0x600"},
      {"larger than any file", [](auto& f) { f.header.syssize = ~0U; }, "is truncated: its kernel ends at 0x600 + 0xffffffff0"},
      {"no room for the entry", [](auto& f) { f.header.syssize = 0x20; }, "kernel of 0x200 bytes, too few"},
      {"needs less than it has", [](auto& f) { f.header.init_size = 0x3FF; }, "kernel of 0x400 bytes that claims to need 0x3ff"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    BzImageFile file;
    c.change(file);
    const auto image = file.parse();
    ASSERT_FALSE(image.has_value());
    EXPECT_EQ(image.error().code(), ErrorCode::kInvalid);
    EXPECT_NE(image.error().text().find(c.reason), std::string::npos) << image.error().text();
  }
}

TEST(BzImage, EveryTruncationIsRefused) {
  const BzImageFile file;
  const auto bytes = file.bytes();
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(parse_bzimage(std::span{bytes}.first(size), size).has_value()) << size;
  EXPECT_TRUE(parse_bzimage(bytes, bytes.size()).has_value());
}

TEST(BzImage, SurvivesRandomHeaders) {
  std::mt19937 random{3};
  const auto good = BzImageFile{}.bytes();
  const MemoryLayout layout = layout_of(std::uint64_t{64} << 20);
  unsigned placed = 0;
  for (int round = 0; round < 20'000; ++round) {
    auto bytes = good;
    for (int flips = 0; flips < 3; ++flips)
      bytes[kSetupHeaderOffset + random() % (0x26C - kSetupHeaderOffset)] = static_cast<std::byte>(random());
    const auto image = parse_bzimage(bytes, bytes.size());
    if (!image) continue;
    EXPECT_LE(image->file_offset + image->file_bytes, bytes.size());
    const auto start = place_bzimage(*image, layout, kLowest);
    if (!start) continue;
    ++placed;
    EXPECT_GE(start->raw(), kLowest.raw());
    EXPECT_LE(start->raw() + image->init_bytes, std::uint64_t{64} << 20);
  }
  EXPECT_GT(placed, 0U);
}

TEST(BzImage, LiesAtItsPreferredAddressOrTheNextThatIsFree) {
  struct Case {
    const char* name;
    std::uint64_t preferred;
    bool relocatable;
    std::uint64_t memory_bytes;
    std::uint64_t start;  // 0: refused
    const char* reason;
  };
  const Case cases[] = {
      {"preferred", 0x100'0000, true, 0x200'0000, 0x100'0000, ""},
      {"just fits", 0x100'0000, true, 0x180'0000, 0x100'0000, ""},
      {"does not fit", 0x100'0000, true, 0x17F'F000, 0, "needs 0x800000 bytes of memory from 0x1000000 on, the guest's ends at 0x17ff000"},
      {"preferred where boot data are", 0x8000, true, 0x200'0000, 0x20'0000, ""},
      {"preferred and not aligned", 0x100'0001, true, 0x200'0000, 0x120'0000, ""},
      {"preferred beyond memory", ~0ULL, true, 0x200'0000, 0, "from 0xffffffffffffffff on"},
      {"fixed", 0x100'1000, false, 0x200'0000, 0x100'1000, ""},
      {"fixed where boot data are", 0x8000, false, 0x200'0000, 0, "loads at 0x8000 and nowhere else"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    BzImageFile file;
    file.header.pref_address = c.preferred;
    file.header.relocatable_kernel = c.relocatable;
    const auto start = place_bzimage(*file.parse(), layout_of(c.memory_bytes), kLowest);
    EXPECT_EQ(start ? start->raw() : 0, c.start);
    if (!start) {
      EXPECT_NE(start.error().text().find(c.reason), std::string::npos) << start.error().text();
    }
  }
}

}  // namespace
}  // namespace understudy
