// Reads the headers of an x86 ELF executable, of 64 or 32 bits. Pure: bytes in, load plan out; nothing in the file is trusted.
#pragma once

#include <cstdint>
#include <vector>

#include "net/base/ids.h"
#include "net/base/result.h"
#include "vmm/backend.h"
#include "vmm/checkpoint_source.h"

namespace understudy {

struct ElfSegment {
  GuestPhysicalAddress start;  // p_paddr
  std::uint64_t memory_bytes;  // from file_bytes on it is zeros
  std::uint64_t file_offset;
  std::uint64_t file_bytes;
};

// Where notes are in the file, which may be anywhere: a note segment.
struct ElfNotes {
  std::uint64_t file_offset = 0;
  std::uint64_t file_bytes = 0;
  std::size_t alignment = 4;  // of each note; 4 or 8
};

struct ElfImage {
  GuestPhysicalAddress entry;
  bool is_64bit = true;
  std::vector<ElfSegment> segments{};  // ascending by start, without overlap; none empty
  std::vector<ElfNotes> notes{};

  // Whether a segment holds it. The entry of a kernel that expects to be entered with paging of its own is no physical address, and lies in
  // none.
  bool holds(GuestPhysicalAddress address) const;
};

// How much of a file's start parse_elf() needs to see at most.
inline constexpr std::size_t kElfHeadBytes = 64 * 1024;

// Whether a file that starts so is an ELF file, of whatever kind.
bool is_elf(ConstBytes head);

// `head` is the file's start: all of it, or its first kElfHeadBytes; `file_bytes` is the whole file's size. kInvalid says in one clause
// what is wrong: not an x86 ELF executable, truncated, segments that overlap or wrap.
Result<ElfImage> parse_elf(ConstBytes head, std::uint64_t file_bytes);

// Whether every segment lies in guest memory, and none below `lowest`, where the boot data are. kInvalid names the segment.
Result<void> check_fits(const ElfImage& image, const MemoryLayout& layout, GuestPhysicalAddress lowest);

}  // namespace understudy
