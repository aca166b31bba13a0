#include "vmm/boot/elf.h"

#include <algorithm>
#include <cstring>
#include <elf.h>

#include <fmt/format.h>

#include "vmm/boot/invalid.h"

namespace understudy {
namespace {

template <class T>
bool read_at(ConstBytes bytes, std::uint64_t offset, T& out) {
  if (offset > bytes.size() || sizeof(T) > bytes.size() - offset) return false;
  std::memcpy(&out, bytes.data() + offset, sizeof(T));
  return true;
}

// What both kinds of file have, with 64-bit fields.
struct FileHeader {
  bool is_64bit = false;
  unsigned type = 0;
  unsigned machine = 0;
  std::uint64_t entry = 0;
  std::uint64_t programs_offset = 0;
  unsigned program_bytes = 0;
  unsigned program_count = 0;
};
struct ProgramHeader {
  unsigned type = 0;
  std::uint64_t offset = 0;
  std::uint64_t physical = 0;
  std::uint64_t file_bytes = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t alignment = 0;
};

template <class Ehdr>
bool read_file_header(ConstBytes head, FileHeader& out) {
  Ehdr header{};
  if (!read_at(head, 0, header)) return false;
  out.type = header.e_type;
  out.machine = header.e_machine;
  out.entry = header.e_entry;
  out.programs_offset = header.e_phoff;
  out.program_bytes = header.e_phentsize;
  out.program_count = header.e_phnum;
  return true;
}

template <class Phdr>
bool read_program_header(ConstBytes head, std::uint64_t offset, ProgramHeader& out) {
  Phdr program{};
  if (!read_at(head, offset, program)) return false;
  out = {program.p_type, program.p_offset, program.p_paddr, program.p_filesz, program.p_memsz, program.p_align};
  return true;
}

Result<FileHeader> parse_header(ConstBytes head) {
  if (!is_elf(head)) return invalid("is not an ELF file");
  const auto truncated = [&] { return invalid(fmt::format("is truncated: {} bytes are less than an ELF header", head.size())); };
  if (head.size() < EI_NIDENT) return truncated();
  FileHeader header;
  const auto file_class = std::to_integer<unsigned>(head[EI_CLASS]);
  if (file_class != ELFCLASS64 && file_class != ELFCLASS32)
    return invalid(fmt::format("is an ELF file of an unknown class ({})", file_class));
  header.is_64bit = file_class == ELFCLASS64;
  if (!(header.is_64bit ? read_file_header<Elf64_Ehdr>(head, header) : read_file_header<Elf32_Ehdr>(head, header))) return truncated();
  if (head[EI_DATA] != std::byte{ELFDATA2LSB} || header.machine != (header.is_64bit ? EM_X86_64 : EM_386))
    return invalid(fmt::format("is an ELF file for another processor (machine {}), not x86", header.machine));
  if (header.type != ET_EXEC && header.type != ET_DYN) return invalid(fmt::format("is not an executable (ELF type {})", header.type));
  const std::size_t expected = header.is_64bit ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
  if (header.program_bytes != expected)
    return invalid(fmt::format("has program headers of {} bytes, {} are expected", header.program_bytes, expected));
  return header;
}

Result<ElfSegment> parse_segment(const ProgramHeader& program, unsigned index) {
  if (program.file_bytes > program.memory_bytes)
    return invalid(
        fmt::format("segment {} has {:#x} bytes in the file and {:#x} in memory", index, program.file_bytes, program.memory_bytes));
  if (program.physical + program.memory_bytes < program.physical)
    return invalid(fmt::format("segment {} at {:#x} wraps around the address space", index, program.physical));
  return ElfSegment{GuestPhysicalAddress{program.physical}, program.memory_bytes, program.offset, program.file_bytes};
}

// Adds what is loaded, and notes; anything else is left out.
Result<void> add_program(const ProgramHeader& program, unsigned index, std::uint64_t file_bytes, ElfImage& image) {
  const bool loaded = program.type == PT_LOAD && program.memory_bytes > 0;
  const bool notes = program.type == PT_NOTE && program.file_bytes > 0;
  if (!loaded && !notes) return {};
  if (program.offset > file_bytes || program.file_bytes > file_bytes - program.offset)
    return invalid(fmt::format("is truncated: segment {} ends at {:#x} + {:#x}, the file at {:#x}", index, program.offset,
                               program.file_bytes, file_bytes));
  if (notes) {
    image.notes.push_back({program.offset, program.file_bytes, program.alignment == 8 ? std::size_t{8} : std::size_t{4}});
    return {};
  }
  US_ASSIGN(const ElfSegment segment, parse_segment(program, index));
  image.segments.push_back(segment);
  return {};
}

std::uint64_t end_of(const ElfSegment& segment) { return segment.start.raw() + segment.memory_bytes; }

}  // namespace

bool is_elf(ConstBytes head) { return head.size() >= SELFMAG && std::memcmp(head.data(), ELFMAG, SELFMAG) == 0; }

bool ElfImage::holds(GuestPhysicalAddress address) const {
  return std::ranges::any_of(segments,
                             [&](const ElfSegment& segment) { return address >= segment.start && address.raw() < end_of(segment); });
}

Result<ElfImage> parse_elf(ConstBytes head, std::uint64_t file_bytes) {
  US_ASSIGN(const FileHeader header, parse_header(head));
  ElfImage image{.entry = GuestPhysicalAddress{header.entry}, .is_64bit = header.is_64bit};
  for (unsigned i = 0; i < header.program_count; ++i) {
    ProgramHeader program;
    const std::uint64_t offset = header.programs_offset + std::uint64_t{i} * header.program_bytes;
    const bool whole = offset >= header.programs_offset && (header.is_64bit ? read_program_header<Elf64_Phdr>(head, offset, program)
                                                                            : read_program_header<Elf32_Phdr>(head, offset, program));
    if (!whole) return invalid(fmt::format("is truncated: program header {} is not within the first {:#x} bytes", i, head.size()));
    US_TRY(add_program(program, i, file_bytes, image));
  }
  if (image.segments.empty()) return invalid("has nothing to load");
  std::ranges::sort(image.segments, {}, &ElfSegment::start);
  for (std::size_t i = 1; i < image.segments.size(); ++i) {
    if (image.segments[i].start.raw() < end_of(image.segments[i - 1]))
      return invalid(fmt::format("segments at {:#x} and {:#x} overlap", image.segments[i - 1].start.raw(), image.segments[i].start.raw()));
  }
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
