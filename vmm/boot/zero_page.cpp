#include "vmm/boot/zero_page.h"

#include <algorithm>
#include <asm/bootparam.h>
#include <cstring>

#include "net/base/check.h"
#include "vmm/boot/bzimage.h"

namespace understudy {
namespace {

static_assert(sizeof(boot_params) == kPageSizeBytes);
static_assert(offsetof(boot_params, hdr) == kSetupHeaderOffset);

constexpr std::uint16_t kBootFlag = 0xAA55;
constexpr std::uint32_t kHeaderMagic = 0x5372'6448;  // "HdrS"
constexpr std::uint16_t kProtocolVersion = 0x020F;
constexpr std::uint8_t kUndefinedLoader = 0xFF;
constexpr std::uint32_t kKernelAlignment = 0x0100'0000;

// The header that a kernel without one is given.
setup_header default_header(std::size_t command_line_bytes) {
  setup_header header{};
  header.boot_flag = kBootFlag;
  header.header = kHeaderMagic;
  header.version = kProtocolVersion;
  header.loadflags = LOADED_HIGH;
  header.kernel_alignment = kKernelAlignment;
  header.cmdline_size = static_cast<std::uint32_t>(command_line_bytes);
  return header;
}

}  // namespace

std::array<std::byte, kPageSizeBytes> make_zero_page(const ZeroPageContent& content) {
  US_CHECK(content.e820.size() <= E820_MAX_ENTRIES_ZEROPAGE && content.command_line_bytes <= boot_map::kMaxCommandLineBytes);
  US_CHECK(content.setup_header.size() <= kSetupHeaderMaxEnd - kSetupHeaderOffset);
  std::array<std::byte, kPageSizeBytes> page{};
  std::ranges::copy(content.setup_header, page.begin() + kSetupHeaderOffset);
  boot_params params{};
  std::memcpy(&params, page.data(), sizeof params);
  if (content.setup_header.empty()) params.hdr = default_header(content.command_line_bytes);
  params.hdr.type_of_loader = kUndefinedLoader;
  params.hdr.loadflags &= static_cast<std::uint8_t>(~CAN_USE_HEAP);  // there is no real-mode code that had one
  params.hdr.cmd_line_ptr = static_cast<std::uint32_t>(boot_map::kCommandLine.raw());
  params.hdr.setup_data = 0;
  params.hdr.ramdisk_image = content.initrd ? static_cast<std::uint32_t>(content.initrd->start.raw()) : 0;
  params.hdr.ramdisk_size = content.initrd ? content.initrd->bytes : 0;
  params.acpi_rsdp_addr = content.rsdp ? content.rsdp->raw() : 0;
  params.e820_entries = static_cast<std::uint8_t>(content.e820.size());
  for (std::size_t i = 0; i < content.e820.size(); ++i) {
    boot_e820_entry entry{};
    entry.addr = content.e820[i].start;
    entry.size = content.e820[i].bytes;
    entry.type = static_cast<std::uint32_t>(content.e820[i].kind);
    params.e820_table[i] = entry;
  }
  std::memcpy(page.data(), &params, sizeof params);
  return page;
}

std::optional<InitrdPlace> place_initrd(std::uint64_t bytes, const MemoryLayout& layout, GuestPhysicalAddress lowest, std::uint64_t end) {
  US_CHECK(!layout.regions.empty() && layout.regions.front().start.raw() == 0);
  end = std::min(std::uint64_t{layout.regions.front().page_count} * kPageSizeBytes, end);
  if (bytes == 0 || bytes > end) return std::nullopt;
  const std::uint64_t start = (end - bytes) / kPageSizeBytes * kPageSizeBytes;
  if (start < lowest.raw()) return std::nullopt;
  return InitrdPlace{GuestPhysicalAddress{start}, static_cast<std::uint32_t>(bytes)};
}

}  // namespace understudy
