// Reads the setup header of a Linux/x86 boot image (bzImage). Pure: bytes in, load plan out; nothing in the file is trusted.
//
// Source: Linux Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header" and "64-bit Boot Protocol".
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "net/base/ids.h"
#include "net/base/result.h"
#include "vmm/backend.h"
#include "vmm/checkpoint_source.h"

namespace understudy {

struct BzImage {
  std::vector<std::byte> setup_header;  // from kSetupHeaderOffset to its end, for the zero page
  // The protected-mode kernel (decompressor and payload) in the file.
  std::uint64_t file_offset = 0;
  std::uint64_t file_bytes = 0;
  GuestPhysicalAddress preferred_start;
  std::uint32_t alignment_bytes = 0;  // of its start; a power of two
  bool relocatable = false;           // it may lie elsewhere than at preferred_start
  std::uint64_t init_bytes = 0;       // what it needs from its start on, until it knows its memory map; at least file_bytes
  std::uint32_t max_command_line_bytes = 0;
  std::uint64_t initrd_end = 0;  // an initrd ends at or below
};

// Where the setup header starts, in the file and in the zero page; and where it ends at the latest.
inline constexpr std::size_t kSetupHeaderOffset = 0x1F1;
inline constexpr std::size_t kSetupHeaderMaxEnd = 0x290;
// The entry point of the 64-bit protocol, from the protected-mode kernel's start.
inline constexpr std::uint64_t kBzImageEntryOffset = 0x200;

// Whether a file that starts so is a Linux/x86 boot image, sound or not. `head` may be shorter than a header.
bool is_bzimage(ConstBytes head);

// `head` is the file's start, at least its first kSetupHeaderMaxEnd bytes unless the file is shorter; `file_bytes` is the whole file's
// size. kInvalid says in one clause what is wrong: truncated, older than protocol 2.12, no 64-bit entry point, values that contradict each
// other.
Result<BzImage> parse_bzimage(ConstBytes head, std::uint64_t file_bytes);

// Where its protected-mode kernel is to lie: at its preferred address, or, when that is below `lowest` and it may be moved, at the first
// aligned one above. kInvalid names the memory that it needs.
Result<GuestPhysicalAddress> place_bzimage(const BzImage& image, const MemoryLayout& layout, GuestPhysicalAddress lowest);

}  // namespace understudy
