#include "vmm/boot/zero_page.h"

#include <algorithm>
#include <asm/bootparam.h>
#include <cstring>

#include "net/base/check.h"

namespace understudy {
namespace {

static_assert(sizeof(boot_params) == kPageSizeBytes);

constexpr std::uint16_t kBootFlag = 0xAA55;
constexpr std::uint32_t kHeaderMagic = 0x5372'6448;  // "HdrS"
constexpr std::uint16_t kProtocolVersion = 0x020F;
constexpr std::uint8_t kUndefinedLoader = 0xFF;
constexpr std::uint32_t kKernelAlignment = 0x0100'0000;

}  // namespace

std::array<std::byte, kPageSizeBytes> make_zero_page(std::span<const boot_map::E820Range> e820, std::size_t command_line_bytes,
                                                     std::optional<InitrdPlace> initrd) {
  US_CHECK(e820.size() <= E820_MAX_ENTRIES_ZEROPAGE && command_line_bytes <= boot_map::kMaxCommandLineBytes);
  boot_params params{};
  params.hdr.boot_flag = kBootFlag;
  params.hdr.header = kHeaderMagic;
  params.hdr.version = kProtocolVersion;
  params.hdr.type_of_loader = kUndefinedLoader;
  params.hdr.loadflags = LOADED_HIGH;
  params.hdr.kernel_alignment = kKernelAlignment;
  params.hdr.cmd_line_ptr = static_cast<std::uint32_t>(boot_map::kCommandLine.raw());
  params.hdr.cmdline_size = static_cast<std::uint32_t>(command_line_bytes);
  if (initrd) {
    params.hdr.ramdisk_image = static_cast<std::uint32_t>(initrd->start.raw());
    params.hdr.ramdisk_size = initrd->bytes;
  }
  params.e820_entries = static_cast<std::uint8_t>(e820.size());
  for (std::size_t i = 0; i < e820.size(); ++i) {
    boot_e820_entry entry{};
    entry.addr = e820[i].start;
    entry.size = e820[i].bytes;
    entry.type = static_cast<std::uint32_t>(e820[i].kind);
    params.e820_table[i] = entry;
  }
  std::array<std::byte, kPageSizeBytes> page;
  std::memcpy(page.data(), &params, sizeof params);
  return page;
}

std::optional<InitrdPlace> place_initrd(std::uint64_t bytes, const MemoryLayout& layout, GuestPhysicalAddress lowest) {
  US_CHECK(!layout.regions.empty() && layout.regions.front().start.raw() == 0);
  const std::uint64_t end = std::min(std::uint64_t{layout.regions.front().page_count} * kPageSizeBytes, boot_map::kInitrdEnd);
  if (bytes == 0 || bytes > end) return std::nullopt;
  const std::uint64_t start = (end - bytes) / kPageSizeBytes * kPageSizeBytes;
  if (start < lowest.raw()) return std::nullopt;
  return InitrdPlace{GuestPhysicalAddress{start}, static_cast<std::uint32_t>(bytes)};
}

}  // namespace understudy
