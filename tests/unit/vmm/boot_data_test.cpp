// The MP table, the memory map and the zero page, byte by byte as guests read them; and page tables and GDT.
#include <algorithm>
#include <asm/bootparam.h>
#include <cstring>

#include <gtest/gtest.h>

#include "tests/support/boot_bytes.h"
#include "tests/support/kernel_files.h"
#include "vmm/boot/cpu_entry.h"
#include "vmm/boot/memory_map.h"
#include "vmm/boot/mp_table.h"
#include "vmm/boot/zero_page.h"

namespace understudy {
namespace {

unsigned byte_at(std::span<const std::byte> bytes, std::size_t offset) { return std::to_integer<unsigned>(bytes[offset]); }

TEST(MpTable, IsWhatGuestsLookFor) {
  for (unsigned processors = 1; processors <= 8; ++processors) {
    SCOPED_TRACE(processors);
    const auto bytes = make_mp_table(processors, boot_map::kMpTable);
    const std::span all{bytes};
    ASSERT_LE(all.size(), boot_map::kMpTableBytes);
    EXPECT_EQ(std::memcmp(all.data(), "_MP_", 4), 0);
    EXPECT_EQ(value_at<std::uint32_t>(all, 4), boot_map::kMpTable.raw() + 16);
    EXPECT_EQ(byte_sum(all.first(16)), 0U);
    const auto table = all.subspan(16);
    EXPECT_EQ(std::memcmp(table.data(), "PCMP", 4), 0);
    ASSERT_EQ(value_at<std::uint16_t>(table, 4), table.size());
    EXPECT_EQ(byte_sum(table), 0U);
    EXPECT_EQ(value_at<std::uint32_t>(table, 36), 0xFEE0'0000U);

    unsigned entries = 0;
    unsigned found_processors = 0;
    std::uint32_t pins = 0;
    std::size_t at = 44;
    while (at < table.size()) {
      ++entries;
      switch (byte_at(table, at)) {
        case 0:
          EXPECT_EQ(byte_at(table, at + 1), found_processors);
          EXPECT_EQ(byte_at(table, at + 3), found_processors == 0 ? 3U : 1U);
          ++found_processors;
          at += 20;
          break;
        case 2:
          EXPECT_EQ(byte_at(table, at + 1), processors) << "the IOAPIC's id is no processor's";
          EXPECT_EQ(value_at<std::uint32_t>(table, at + 4), 0xFEC0'0000U);
          at += 8;
          break;
        case 3:
          EXPECT_EQ(byte_at(table, at + 5), byte_at(table, at + 7)) << "line n is pin n, as KVM routes it";
          EXPECT_EQ(byte_at(table, at + 6), processors);
          EXPECT_EQ(value_at<std::uint16_t>(table, at + 2), 0U) << "as the ISA bus: edge, active high";
          pins |= 1U << byte_at(table, at + 7);
          at += 8;
          break;
        default:
          at += 8;
      }
    }
    EXPECT_EQ(at, table.size());
    EXPECT_EQ(entries, value_at<std::uint16_t>(table, 34));
    EXPECT_EQ(found_processors, processors);
    EXPECT_EQ(pins, 0xFF'FFFBU) << "24 pins but for the cascade";
  }
}

TEST(MemoryMap, ReservesTheMpTableAndKnowsTheHole) {
  using boot_map::E820Kind;
  using boot_map::E820Range;
  const MemoryLayout small{{{GuestPhysicalAddress{0}, PageIndex{0}, 0x1000}}};
  EXPECT_EQ(boot_map::e820_map(small),
            (std::vector<E820Range>{
                {0, 0x9'FC00, E820Kind::kRam}, {0x9'FC00, 0x6'0400, E820Kind::kReserved}, {0x10'0000, 0xF0'0000, E820Kind::kRam}}));
  const MemoryLayout large{
      {{GuestPhysicalAddress{0}, PageIndex{0}, 0xC'0000}, {GuestPhysicalAddress{1ULL << 32}, PageIndex{0xC'0000}, 0x100}}};
  const auto map = boot_map::e820_map(large);
  ASSERT_EQ(map.size(), 4U);
  EXPECT_EQ(map[2], (E820Range{0x10'0000, 0xBFF0'0000, E820Kind::kRam}));
  EXPECT_EQ(map[3], (E820Range{1ULL << 32, 0x10'0000, E820Kind::kRam}));
}

TEST(ZeroPage, TellsTheKernelItsCommandLineInitrdAndMemory) {
  const boot_map::E820Range e820[] = {{0, 0x9'FC00, boot_map::E820Kind::kRam}, {0x10'0000, 0x100, boot_map::E820Kind::kReserved}};
  const auto page = make_zero_page({.e820 = e820,
                                    .command_line_bytes = 17,
                                    .initrd = InitrdPlace{GuestPhysicalAddress{0x300'0000}, 0x1234},
                                    .rsdp = GuestPhysicalAddress{0xE'0000}});
  const auto params = value_at<boot_params>(page, 0);
  EXPECT_EQ(params.hdr.header, 0x5372'6448U);
  EXPECT_EQ(params.hdr.boot_flag, 0xAA55U);
  EXPECT_EQ(params.hdr.cmd_line_ptr, 0x2'0000U);
  EXPECT_EQ(params.hdr.cmdline_size, 17U);
  EXPECT_EQ(params.hdr.ramdisk_image, 0x300'0000U);
  EXPECT_EQ(params.hdr.ramdisk_size, 0x1234U);
  EXPECT_EQ(params.acpi_rsdp_addr, 0xE'0000U);
  ASSERT_EQ(params.e820_entries, 2U);
  EXPECT_EQ(params.e820_table[1].addr, 0x10'0000U);
  EXPECT_EQ(params.e820_table[1].size, 0x100U);
  EXPECT_EQ(params.e820_table[1].type, 2U);
  EXPECT_EQ(value_at<boot_params>(make_zero_page({.e820 = e820}), 0).hdr.ramdisk_size, 0U);
}

TEST(ZeroPage, KeepsAKernelsSetupHeaderButForWhatABootLoaderWrites) {
  const BzImageFile file;
  const auto image = file.parse();
  ASSERT_TRUE(image.has_value());
  const auto page = make_zero_page({.command_line_bytes = 17, .setup_header = image->setup_header});
  setup_header expected = file.header;
  expected.type_of_loader = 0xFF;
  expected.loadflags = LOADED_HIGH;
  expected.cmd_line_ptr = 0x2'0000;
  expected.setup_data = 0;
  EXPECT_EQ(std::memcmp(page.data() + 0x1F1, &expected, sizeof expected), 0);
  EXPECT_TRUE(std::ranges::all_of(std::span{page}.first(0x1F1), [](std::byte b) { return b == std::byte{0}; }));
  EXPECT_TRUE(std::ranges::all_of(std::span{page}.subspan(0x1F1 + sizeof expected), [](std::byte b) { return b == std::byte{0}; }));
}

TEST(Initrd, LiesAsHighAsItMay) {
  const MemoryLayout small{{{GuestPhysicalAddress{0}, PageIndex{0}, 0x1000}}};
  const MemoryLayout large{{{GuestPhysicalAddress{0}, PageIndex{0}, 0xC'0000}}};
  constexpr GuestPhysicalAddress kAbove{0x80'0000};
  EXPECT_EQ(place_initrd(1, small, kAbove)->start.raw(), 0xFF'F000U);
  EXPECT_EQ(place_initrd(0x1001, small, kAbove)->start.raw(), 0xFF'E000U);
  EXPECT_EQ(place_initrd(0x80'0000, small, kAbove)->start, kAbove);
  EXPECT_FALSE(place_initrd(0x80'0001, small, kAbove).has_value());
  EXPECT_FALSE(place_initrd(~0ULL, small, kAbove).has_value());
  EXPECT_FALSE(place_initrd(0, small, kAbove).has_value());
  EXPECT_EQ(place_initrd(1, small, kAbove, 0x90'0000)->start.raw(), 0x8F'F000U) << "below the kernel's own limit";
  EXPECT_EQ(place_initrd(0x1000, large, kAbove)->start.raw(), 0x7FFF'F000U) << "below initrd_addr_max";
}

TEST(LongMode, MapsTheFirstFourGigabytesToThemselves) {
  const auto tables = make_identity_page_tables();
  const auto entry = [&](GuestPhysicalAddress table, std::size_t index) {
    return tables[(table.raw() - boot_map::kPml4.raw()) / 8 + index];
  };
  for (std::uint64_t address = 0; address < (1ULL << 32); address += 0x1FFF'F000) {
    const std::uint64_t pml4 = entry(boot_map::kPml4, address >> 39 & 511);
    const std::uint64_t pdpt = entry(GuestPhysicalAddress{pml4 & ~0xFFFULL}, address >> 30 & 511);
    const std::uint64_t leaf = entry(GuestPhysicalAddress{pdpt & ~0xFFFULL}, address >> 21 & 511);
    EXPECT_EQ(leaf & 0x83, 0x83U) << "present, writable, large";
    EXPECT_EQ((leaf & ~0x1F'FFFFULL) | (address & 0x1F'FFFF), address);
  }
  EXPECT_LE(boot_map::kPml4.raw() + tables.size() * 8, boot_map::kCommandLine.raw());
}

TEST(LongMode, RegistersAreTheBootProtocols) {
  kvm_sregs2 sregs{};
  set_boot_mode(BootProtocol::kLinux64, sregs);
  EXPECT_EQ(sregs.cs.selector, 0x10);
  EXPECT_EQ(sregs.ds.selector, 0x18);
  EXPECT_EQ(sregs.cs.l, 1);
  EXPECT_EQ(sregs.cr3, boot_map::kPml4.raw());
  EXPECT_EQ(sregs.gdt.limit, sizeof(make_gdt()) - 1);
  const kvm_regs regs = boot_registers({BootProtocol::kLinux64, GuestPhysicalAddress{0x123'4000}});
  EXPECT_EQ(regs.rip, 0x123'4000U);
  EXPECT_EQ(regs.rsi, boot_map::kZeroPage.raw());
  EXPECT_EQ(regs.rflags, 2U) << "interrupts off";
}

TEST(ProtectedMode, RegistersAreTheBootProtocols) {
  kvm_sregs2 sregs{};
  set_boot_mode(BootProtocol::kLinux64, sregs);
  set_boot_mode(BootProtocol::kPvh, sregs);
  EXPECT_EQ(sregs.cr0, 0x11U) << "protected, without paging";
  EXPECT_EQ(sregs.cr4, 0U);
  EXPECT_EQ(sregs.efer, 0U);
  EXPECT_EQ(sregs.cs.l, 0);
  EXPECT_EQ(sregs.cs.db, 1) << "32 bits";
  EXPECT_EQ(sregs.cs.base, 0U);
  EXPECT_EQ(sregs.cs.limit, 0xFFFF'FFFFU);
  ASSERT_LT(sregs.cs.selector / 8U, make_gdt().size());
  EXPECT_EQ(make_gdt()[sregs.cs.selector / 8U], 0x00CF'9B00'0000'FFFFU);
  EXPECT_EQ(make_gdt()[sregs.ds.selector / 8U], 0x00CF'9300'0000'FFFFU);
  const kvm_regs regs = boot_registers({BootProtocol::kPvh, GuestPhysicalAddress{0x123'4000}});
  EXPECT_EQ(regs.rip, 0x123'4000U);
  EXPECT_EQ(regs.rbx, boot_map::kPvhStartInfo.raw());
  EXPECT_EQ(regs.rsi, 0U);
  EXPECT_EQ(regs.rflags, 2U) << "interrupts off";
}

}  // namespace
}  // namespace understudy
