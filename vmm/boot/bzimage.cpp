#include "vmm/boot/bzimage.h"

#include <algorithm>
#include <asm/bootparam.h>
#include <bit>
#include <cstring>
#include <string>

#include <fmt/format.h>

#include "net/base/check.h"
#include "vmm/boot/invalid.h"

namespace understudy {
namespace {

constexpr std::size_t kBootFlagOffset = 0x1FE;
constexpr std::size_t kJumpOffset = 0x200;  // a short jump over the header, whose distance gives its end
constexpr std::size_t kMagicOffset = 0x202;
constexpr std::uint16_t kBootFlag = 0xAA55;
constexpr std::uint32_t kMagic = 0x5372'6448;  // "HdrS"
constexpr std::uint16_t kXloadflagsVersion = 0x020C;
constexpr std::size_t kMinEnd = kSetupHeaderOffset + offsetof(setup_header, handover_offset);  // init_size is the last that we read
constexpr unsigned kSectorBytes = 512;
constexpr unsigned kDefaultSetupSectors = 4;  // where the header says 0
constexpr unsigned kParagraphBytes = 16;

template <class T>
T value_at(ConstBytes bytes, std::size_t offset) {
  T value{};
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// The header as the structure has it; fields that this header is too short for are zero.
Result<setup_header> parse_header(ConstBytes head, std::size_t& end) {
  if (head.size() < kMinEnd) return invalid(fmt::format("is truncated: {} bytes are less than a boot image's header", head.size()));
  if (value_at<std::uint16_t>(head, kBootFlagOffset) != kBootFlag) return invalid("is not a Linux boot image: its boot flag is not 0xAA55");
  end = kMagicOffset + std::to_integer<std::size_t>(head[kJumpOffset + 1]);
  setup_header header{};
  std::memcpy(&header, head.data() + kSetupHeaderOffset, kMinEnd - kSetupHeaderOffset);
  if (header.version < kXloadflagsVersion)
    return invalid(
        fmt::format("has boot protocol {}.{:02}, needed is 2.12 (Linux 3.8) or later", header.version >> 8, header.version & 0xFF));
  if (end < kMinEnd || end > kSetupHeaderMaxEnd || end > head.size())
    return invalid(fmt::format("has a setup header that ends at {:#x}, expected is {:#x} to {:#x}", end, kMinEnd, kSetupHeaderMaxEnd));
  return header;
}

Result<void> check_header(const setup_header& header) {
  if ((header.loadflags & LOADED_HIGH) == 0) return invalid("is a zImage, which loads below 1 MiB: give a bzImage");
  if ((header.xloadflags & XLF_KERNEL_64) == 0) return invalid("has no 64-bit entry point: it is a 32-bit kernel");
  if (!std::has_single_bit(header.kernel_alignment))
    return invalid(fmt::format("asks for an alignment of {:#x} bytes, which is no power of two", header.kernel_alignment));
  if (header.cmdline_size == 0) return invalid("takes no command line");
  return {};
}

}  // namespace

bool is_bzimage(ConstBytes head) {
  return head.size() >= kMagicOffset + sizeof kMagic && value_at<std::uint32_t>(head, kMagicOffset) == kMagic;
}

Result<BzImage> parse_bzimage(ConstBytes head, std::uint64_t file_bytes) {
  if (!is_bzimage(head)) return invalid("is not a Linux boot image");
  std::size_t end = 0;
  US_ASSIGN(const setup_header header, parse_header(head, end));
  US_TRY(check_header(header));
  BzImage image;
  image.setup_header.assign(head.begin() + kSetupHeaderOffset, head.begin() + static_cast<std::ptrdiff_t>(end));
  const unsigned setup_sectors = header.setup_sects == 0 ? kDefaultSetupSectors : header.setup_sects;
  image.file_offset = std::uint64_t{setup_sectors + 1} * kSectorBytes;  // the boot sector comes first
  image.file_bytes = std::uint64_t{header.syssize} * kParagraphBytes;
  if (image.file_offset > file_bytes || image.file_bytes > file_bytes - image.file_offset)
    return invalid(
        fmt::format("is truncated: its kernel ends at {:#x} + {:#x}, the file at {:#x}", image.file_offset, image.file_bytes, file_bytes));
  if (image.file_bytes <= kBzImageEntryOffset)
    return invalid(fmt::format("has a kernel of {:#x} bytes, too few for its entry point", image.file_bytes));
  image.init_bytes = header.init_size;
  if (image.init_bytes < image.file_bytes)
    return invalid(fmt::format("has a kernel of {:#x} bytes that claims to need {:#x}", image.file_bytes, image.init_bytes));
  image.preferred_start = GuestPhysicalAddress{header.pref_address};
  image.alignment_bytes = header.kernel_alignment;
  image.relocatable = header.relocatable_kernel != 0;
  image.max_command_line_bytes = header.cmdline_size;
  image.initrd_end = std::uint64_t{header.initrd_addr_max} + 1;
  return image;
}

Result<GuestPhysicalAddress> place_bzimage(const BzImage& image, const MemoryLayout& layout, GuestPhysicalAddress lowest) {
  US_CHECK(!layout.regions.empty() && layout.regions.front().start.raw() == 0);
  const std::uint64_t memory_end = std::uint64_t{layout.regions.front().page_count} * kPageSizeBytes;
  std::uint64_t start = image.preferred_start.raw();
  if (image.relocatable) {
    // The next multiple; what wraps or is too high does not fit below.
    const std::uint64_t mask = std::uint64_t{image.alignment_bytes} - 1;
    start = std::max(start, lowest.raw());
    start = start > memory_end ? start : (start + mask) & ~mask;
  }
  if (start < lowest.raw()) return invalid(fmt::format("loads at {:#x} and nowhere else: below {:#x} are boot data", start, lowest.raw()));
  if (start > memory_end || image.init_bytes > memory_end - start)
    return invalid(
        fmt::format("needs {:#x} bytes of memory from {:#x} on, the guest's ends at {:#x}", image.init_bytes, start, memory_end));
  return GuestPhysicalAddress{start};
}

}  // namespace understudy
