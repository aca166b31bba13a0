#include "vmm/boot/elf.h"

#include <algorithm>
#include <cstring>
#include <elf.h>

#include <fmt/format.h>

namespace understudy {
namespace {

Error invalid(std::string text) { return Error{ErrorCode::kInvalid, std::move(text)}; }

template <class T>
bool read_at(ConstBytes bytes, std::uint64_t offset, T& out) {
  if (offset > bytes.size() || sizeof(T) > bytes.size() - offset) return false;
  std::memcpy(&out, bytes.data() + offset, sizeof(T));
  return true;
}

Result<Elf64_Ehdr> parse_header(ConstBytes head) {
  Elf64_Ehdr header{};
  if (!is_elf(head)) return invalid("is not an ELF file");
  if (!read_at(head, 0, header)) return invalid(fmt::format("is truncated: {} bytes are less than an ELF header", head.size()));
  if (header.e_ident[EI_CLASS] != ELFCLASS64) return invalid("is not a 64-bit ELF file");
  if (header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_machine != EM_X86_64)
    return invalid(fmt::format("is an ELF file for another processor (machine {}), not x86-64", header.e_machine));
  if (header.e_type != ET_EXEC && header.e_type != ET_DYN) return invalid(fmt::format("is not an executable (ELF type {})", header.e_type));
  if (header.e_phentsize != sizeof(Elf64_Phdr))
    return invalid(fmt::format("has program headers of {} bytes, {} are expected", header.e_phentsize, sizeof(Elf64_Phdr)));
  return header;
}

// nullopt for what is not loaded.
Result<std::optional<ElfSegment>> parse_segment(const Elf64_Phdr& program, unsigned index, std::uint64_t file_bytes) {
  if (program.p_type != PT_LOAD || program.p_memsz == 0) return std::optional<ElfSegment>{};
  if (program.p_filesz > program.p_memsz)
    return invalid(fmt::format("segment {} has {:#x} bytes in the file and {:#x} in memory", index, program.p_filesz, program.p_memsz));
  if (program.p_offset > file_bytes || program.p_filesz > file_bytes - program.p_offset)
    return invalid(fmt::format("is truncated: segment {} ends at {:#x} + {:#x}, the file at {:#x}", index, program.p_offset,
                               program.p_filesz, file_bytes));
  if (program.p_paddr + program.p_memsz < program.p_paddr)
    return invalid(fmt::format("segment {} at {:#x} wraps around the address space", index, program.p_paddr));
  return std::optional{ElfSegment{GuestPhysicalAddress{program.p_paddr}, program.p_memsz, program.p_offset, program.p_filesz}};
}

std::uint64_t end_of(const ElfSegment& segment) { return segment.start.raw() + segment.memory_bytes; }

}  // namespace

bool is_elf(ConstBytes head) { return head.size() >= SELFMAG && std::memcmp(head.data(), ELFMAG, SELFMAG) == 0; }

Result<ElfImage> parse_elf(ConstBytes head, std::uint64_t file_bytes) {
  US_ASSIGN(const Elf64_Ehdr header, parse_header(head));
  ElfImage image{GuestPhysicalAddress{header.e_entry}, {}};
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr program{};
    const std::uint64_t offset = header.e_phoff + std::uint64_t{i} * sizeof program;
    if (offset < header.e_phoff || !read_at(head, offset, program))
      return invalid(fmt::format("is truncated: program header {} is not within the first {:#x} bytes", i, head.size()));
    US_ASSIGN(const auto segment, parse_segment(program, i, file_bytes));
    if (segment) image.segments.push_back(*segment);
  }
  if (image.segments.empty()) return invalid("has nothing to load");
  std::ranges::sort(image.segments, {}, &ElfSegment::start);
  for (std::size_t i = 1; i < image.segments.size(); ++i) {
    if (image.segments[i].start.raw() < end_of(image.segments[i - 1]))
      return invalid(fmt::format("segments at {:#x} and {:#x} overlap", image.segments[i - 1].start.raw(), image.segments[i].start.raw()));
  }
  const bool entered = std::ranges::any_of(
      image.segments, [&](const ElfSegment& segment) { return image.entry >= segment.start && image.entry.raw() < end_of(segment); });
  if (!entered) return invalid(fmt::format("entry point {:#x} lies in no segment", image.entry.raw()));
  return image;
}

Result<void> check_fits(const ElfImage& image, const MemoryLayout& layout, GuestPhysicalAddress lowest) {
  for (const auto& segment : image.segments) {
    const auto describe = [&] { return fmt::format("segment at {:#x} of {:#x} bytes", segment.start.raw(), segment.memory_bytes); };
    if (segment.start < lowest) return invalid(describe() + fmt::format(" lies below {:#x}, where boot data are", lowest.raw()));
    const bool inside = std::ranges::any_of(layout.regions, [&](const MemoryRegion& region) {
      const std::uint64_t region_bytes = std::uint64_t{region.page_count} * kPageSizeBytes;
      if (segment.start < region.start) return false;
      const std::uint64_t offset = segment.start.raw() - region.start.raw();
      return offset <= region_bytes && segment.memory_bytes <= region_bytes - offset;
    });
    if (!inside)
      return invalid(describe() +
                     fmt::format(" lies outside the guest's {} MiB of memory", std::uint64_t{layout.page_count()} * kPageSizeBytes >> 20));
  }
  return {};
}

}  // namespace understudy
