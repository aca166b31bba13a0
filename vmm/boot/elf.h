// Reads the headers of a 64-bit x86 ELF executable. Pure: bytes in, load plan out; nothing in the file is trusted.
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

struct ElfImage {
  GuestPhysicalAddress entry;
  std::vector<ElfSegment> segments;  // ascending by start, without overlap; none empty
};

// How much of a file's start parse_elf() needs to see at most.
inline constexpr std::size_t kElfHeadBytes = 64 * 1024;

// Whether a file that starts so is an ELF file, of whatever kind.
bool is_elf(ConstBytes head);

// `head` is the file's start: all of it, or its first kElfHeadBytes; `file_bytes` is the whole file's size. kInvalid says in one clause
// what is wrong: not a 64-bit x86 ELF executable, truncated, segments that overlap or wrap, an entry outside them.
Result<ElfImage> parse_elf(ConstBytes head, std::uint64_t file_bytes);

// Whether every segment lies in guest memory, and none below `lowest`, where the boot data are. kInvalid names the segment.
Result<void> check_fits(const ElfImage& image, const MemoryLayout& layout, GuestPhysicalAddress lowest);

}  // namespace understudy
