#include "vmm/boot/long_mode.h"

#include "vmm/boot/memory_map.h"

namespace understudy {
namespace {

constexpr std::uint16_t kCodeSelector = 0x10;
constexpr std::uint16_t kDataSelector = 0x18;

constexpr std::uint64_t kPresent = 1 << 0;
constexpr std::uint64_t kWritable = 1 << 1;
constexpr std::uint64_t kLargePage = 1 << 7;
constexpr std::uint64_t kLargePageBytes = std::uint64_t{2} << 20;
constexpr std::size_t kEntries = 512;
constexpr std::size_t kDirectories = 4;

constexpr std::uint64_t kCr0 = 0x8000'0031;  // PG, NE, ET, PE
constexpr std::uint64_t kCr4Pae = 1 << 5;
constexpr std::uint64_t kEfer = (1 << 8) | (1 << 10);  // LME, LMA

kvm_segment flat_segment(std::uint16_t selector, std::uint8_t type, bool code) {
  kvm_segment segment{};
  segment.base = 0;
  segment.limit = 0xFFFF'FFFF;
  segment.selector = selector;
  segment.type = type;
  segment.present = 1;
  segment.dpl = 0;
  segment.db = code ? 0 : 1;
  segment.s = 1;
  segment.l = code ? 1 : 0;
  segment.g = 1;
  return segment;
}

}  // namespace

std::array<std::uint64_t, 4> make_gdt() {
  return {0, 0,
          0x00AF'9B00'0000'FFFF,   // 64-bit code: present, execute and read, accessed
          0x00CF'9300'0000'FFFF};  // data: present, read and write, accessed
}

std::vector<std::uint64_t> make_identity_page_tables() {
  std::vector<std::uint64_t> tables((2 + kDirectories) * kEntries);
  tables[0] = boot_map::kPdpt.raw() | kPresent | kWritable;
  for (std::size_t i = 0; i < kDirectories; ++i)
    tables[kEntries + i] = (boot_map::kPageDirectories.raw() + i * kPageSizeBytes) | kPresent | kWritable;
  for (std::size_t i = 0; i < kDirectories * kEntries; ++i)
    tables[2 * kEntries + i] = i * kLargePageBytes | kPresent | kWritable | kLargePage;
  return tables;
}

void enter_long_mode(kvm_sregs2& sregs) {
  sregs.cs = flat_segment(kCodeSelector, 0xB, true);
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat_segment(kDataSelector, 0x3, false);
  // VMX demands a busy 64-bit TSS; the guest loads its own.
  sregs.tr = {};
  sregs.tr.limit = 0xFFFF;
  sregs.tr.type = 0xB;
  sregs.tr.present = 1;
  sregs.gdt.base = boot_map::kGdt.raw();
  sregs.gdt.limit = sizeof(std::uint64_t) * 4 - 1;
  sregs.idt.base = 0;
  sregs.idt.limit = 0;
  sregs.cr0 = kCr0;
  sregs.cr3 = boot_map::kPml4.raw();
  sregs.cr4 = kCr4Pae;
  sregs.efer = kEfer;
}

kvm_regs boot_registers(GuestPhysicalAddress entry) {
  kvm_regs regs{};
  regs.rip = entry.raw();
  regs.rsi = boot_map::kZeroPage.raw();
  regs.rsp = regs.rbp = boot_map::kStackTop.raw();
  regs.rflags = 2;
  return regs;
}

}  // namespace understudy
