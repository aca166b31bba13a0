#include "vmm/boot/cpu_entry.h"

#include "vmm/boot/memory_map.h"

namespace understudy {
namespace {

constexpr std::uint16_t kCode64Selector = 0x10;
constexpr std::uint16_t kDataSelector = 0x18;
constexpr std::uint16_t kCode32Selector = 0x20;

constexpr std::uint8_t kCodeType = 0xB;  // execute, read, accessed
constexpr std::uint8_t kDataType = 0x3;  // read, write, accessed

constexpr std::uint64_t kPresent = 1 << 0;
constexpr std::uint64_t kWritable = 1 << 1;
constexpr std::uint64_t kLargePage = 1 << 7;
constexpr std::uint64_t kLargePageBytes = std::uint64_t{2} << 20;
constexpr std::size_t kEntries = 512;
constexpr std::size_t kDirectories = 4;

constexpr std::uint64_t kCr0Protected = 0x11;    // ET, PE
constexpr std::uint64_t kCr0Long = 0x8000'0031;  // PG, NE, ET, PE
constexpr std::uint64_t kCr4Pae = 1 << 5;
constexpr std::uint64_t kEfer = (1 << 8) | (1 << 10);  // LME, LMA

kvm_segment flat_segment(std::uint16_t selector, std::uint8_t type, bool code64) {
  kvm_segment segment{};
  segment.base = 0;
  segment.limit = 0xFFFF'FFFF;
  segment.selector = selector;
  segment.type = type;
  segment.present = 1;
  segment.dpl = 0;
  segment.db = code64 ? 0 : 1;
  segment.s = 1;
  segment.l = code64 ? 1 : 0;
  segment.g = 1;
  return segment;
}

}  // namespace

std::array<std::uint64_t, 5> make_gdt() {
  return {0, 0,
          0x00AF'9B00'0000'FFFF,   // 64-bit code: present, execute and read, accessed
          0x00CF'9300'0000'FFFF,   // data: present, read and write, accessed
          0x00CF'9B00'0000'FFFF};  // 32-bit code: present, execute and read, accessed
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

void set_boot_mode(BootProtocol protocol, kvm_sregs2& sregs) {
  const bool long_mode = protocol == BootProtocol::kLinux64;
  sregs.cs = flat_segment(long_mode ? kCode64Selector : kCode32Selector, kCodeType, long_mode);
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat_segment(kDataSelector, kDataType, false);
  // VMX demands a busy TSS, in long mode a 64-bit one; the guest loads its own.
  sregs.tr = {};
  sregs.tr.limit = 0xFFFF;
  sregs.tr.type = 0xB;
  sregs.tr.present = 1;
  sregs.gdt.base = boot_map::kGdt.raw();
  sregs.gdt.limit = sizeof(make_gdt()) - 1;
  sregs.idt.base = 0;
  sregs.idt.limit = 0;
  sregs.cr0 = long_mode ? kCr0Long : kCr0Protected;
  sregs.cr3 = long_mode ? boot_map::kPml4.raw() : 0;
  sregs.cr4 = long_mode ? kCr4Pae : 0;
  sregs.efer = long_mode ? kEfer : 0;
}

kvm_regs boot_registers(const BootEntry& entry) {
  kvm_regs regs{};
  regs.rip = entry.address.raw();
  regs.rflags = 2;
  if (entry.protocol == BootProtocol::kPvh) {
    regs.rbx = boot_map::kPvhStartInfo.raw();
  } else {
    regs.rsi = boot_map::kZeroPage.raw();
    regs.rsp = regs.rbp = boot_map::kStackTop.raw();
  }
  return regs;
}

}  // namespace understudy
