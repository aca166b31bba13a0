// Kernels that tests make: their headers open to change, their content a few recognizable bytes.
#pragma once

#include <algorithm>
#include <asm/bootparam.h>
#include <cstring>
#include <elf.h>
#include <span>
#include <string_view>
#include <vector>

#include "vmm/boot/bzimage.h"
#include "vmm/boot/elf.h"

namespace understudy {

// The lowest address that these kernels may be loaded at.
inline constexpr GuestPhysicalAddress kLowest{0x10'0000};

// A kernel of two segments, with the headers open to change.
struct ElfFile {
  Elf64_Ehdr header{};
  Elf64_Phdr segments[2] = {};
  std::uint64_t file_bytes = 0x4000;

  ElfFile() {
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_type = ET_EXEC;
    header.e_machine = EM_X86_64;
    header.e_entry = 0x100'0100;
    header.e_phoff = sizeof header;
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = 2;
    segments[0] = {.p_type = PT_LOAD,
                   .p_flags = PF_R | PF_X,
                   .p_offset = 0x1000,
                   .p_vaddr = 0xFFFF'FFFF'8100'0000,
                   .p_paddr = 0x100'0000,
                   .p_filesz = 0x2000,
                   .p_memsz = 0x3000,
                   .p_align = 0};
    segments[1] = {.p_type = PT_LOAD,
                   .p_flags = PF_R | PF_W,
                   .p_offset = 0x3000,
                   .p_vaddr = 0xFFFF'FFFF'8200'0000,
                   .p_paddr = 0x200'0000,
                   .p_filesz = 0x1000,
                   .p_memsz = 0x1000,
                   .p_align = 0};
  }
  std::vector<std::byte> head() const {
    std::vector<std::byte> bytes(sizeof header + sizeof segments);
    std::memcpy(bytes.data(), &header, sizeof header);
    std::memcpy(bytes.data() + sizeof header, segments, sizeof segments);
    return bytes;
  }
  Result<ElfImage> parse() const { return parse_elf(head(), file_bytes); }
};

// A note as ELF files hold them, of alignment 4.
inline std::vector<std::byte> make_note(std::string_view name, std::uint32_t type, ConstBytes content) {
  const Elf64_Nhdr header{static_cast<Elf64_Word>(name.size() + 1), static_cast<Elf64_Word>(content.size()), type};
  const auto padded = [](std::size_t bytes) { return (bytes + 3) / 4 * 4; };
  std::vector<std::byte> note(sizeof header + padded(name.size() + 1) + padded(content.size()));
  std::memcpy(note.data(), &header, sizeof header);
  std::memcpy(note.data() + sizeof header, name.data(), name.size());
  if (!content.empty()) std::memcpy(note.data() + sizeof header + padded(name.size() + 1), content.data(), content.size());
  return note;
}
// XEN_ELFNOTE_PHYS32_ENTRY.
inline std::vector<std::byte> make_pvh_note(std::uint64_t entry) { return make_note("Xen", 18, std::as_bytes(std::span{&entry, 1})); }

// A 32-bit kernel of one segment, entered by PVH alone.
struct Elf32File {
  static constexpr std::uint32_t kStart = 0x20'0000;
  Elf32_Ehdr header{};
  Elf32_Phdr segments[2] = {};
  std::vector<std::byte> note = make_pvh_note(kStart + 0x20);

  Elf32File() {
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS32;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_type = ET_EXEC;
    header.e_machine = EM_386;
    header.e_entry = kStart + 0x10;
    header.e_phoff = sizeof header;
    header.e_phentsize = sizeof(Elf32_Phdr);
    header.e_phnum = 2;
    segments[0] = {.p_type = PT_LOAD,
                   .p_offset = 0x80,
                   .p_vaddr = kStart,
                   .p_paddr = kStart,
                   .p_filesz = 0x100,
                   .p_memsz = 0x1000,
                   .p_flags = PF_R | PF_X,
                   .p_align = 0};
    segments[1] = {.p_type = PT_NOTE,
                   .p_offset = 0x180,
                   .p_vaddr = 0,
                   .p_paddr = 0,
                   .p_filesz = static_cast<Elf32_Word>(note.size()),
                   .p_memsz = 0,
                   .p_flags = PF_R,
                   .p_align = 4};
  }
  // `kernel` is what the segment begins with.
  std::vector<std::byte> bytes(std::string_view kernel = {}) const {
    std::vector<std::byte> all(0x180);
    std::memcpy(all.data(), &header, sizeof header);
    std::memcpy(all.data() + sizeof header, segments, sizeof segments);
    std::ranges::copy(std::as_bytes(std::span{kernel}), all.begin() + 0x80);
    all.insert(all.end(), note.begin(), note.end());
    return all;
  }
  Result<ElfImage> parse() const { return parse_elf(bytes(), bytes().size()); }
};

// A boot image of three sectors and a kernel of 1 KiB, entered at its 0x200.
struct BzImageFile {
  setup_header header{};
  std::uint64_t file_bytes = 3 * 512 + 0x400;

  BzImageFile() {
    header.setup_sects = 2;
    header.syssize = 0x40;
    header.boot_flag = 0xAA55;
    header.header = 0x5372'6448;
    header.version = 0x020F;
    header.type_of_loader = 0x11;
    header.loadflags = LOADED_HIGH | CAN_USE_HEAP;
    header.xloadflags = XLF_KERNEL_64;
    header.kernel_alignment = 0x20'0000;
    header.relocatable_kernel = 1;
    header.cmdline_size = 2047;
    header.initrd_addr_max = 0x7FFF'FFFF;
    header.setup_data = 0xDEAD;
    header.pref_address = 0x100'0000;
    header.init_size = 0x80'0000;
    set_end(0x26C);
  }
  // By the jump's distance.
  void set_end(unsigned end) { header.jump = static_cast<__u16>(0xEB | (end - 0x202) << 8); }
  // `kernel` is what the entry point begins with.
  std::vector<std::byte> bytes(std::string_view kernel = {}) const {
    std::vector<std::byte> all(file_bytes);
    std::memcpy(all.data() + kSetupHeaderOffset, &header, sizeof header);
    std::ranges::copy(std::as_bytes(std::span{kernel}), all.begin() + 3 * 512 + kBzImageEntryOffset);
    return all;
  }
  Result<BzImage> parse() const {
    auto head = bytes();
    head.resize(0x1000);
    return parse_bzimage(head, file_bytes);
  }
};

}  // namespace understudy
