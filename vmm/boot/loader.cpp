#include "vmm/boot/loader.h"

#include <algorithm>

#include <fmt/format.h>

#include "vmm/boot/acpi.h"
#include "vmm/boot/cpu_entry.h"
#include "vmm/boot/file.h"
#include "vmm/boot/kernel_file.h"
#include "vmm/boot/memory_map.h"
#include "vmm/boot/mp_table.h"
#include "vmm/boot/pvh.h"
#include "vmm/boot/zero_page.h"

namespace understudy {
namespace {

Result<InitrdPlace> load_initrd(const std::string& path, const LoadedKernel& kernel, GuestMemory& memory) {
  US_ASSIGN(const BootFile file, BootFile::open(path));
  if (file.bytes() == 0) return Error{ErrorCode::kInvalid, "is empty"};
  const auto place = place_initrd(file.bytes(), memory.layout(), kernel.end, kernel.initrd_end);
  if (!place)
    return Error{ErrorCode::kInvalid, fmt::format("its {} bytes do not fit into guest memory above the kernel, which ends at {:#x}",
                                                  file.bytes(), kernel.end.raw())};
  const auto target = memory.at(place->start, place->bytes);
  US_CHECK(target.has_value());
  US_TRY(file.read_at(0, *target));
  memory.mark_written(place->start, place->bytes);
  return *place;
}

template <class Range>
void put(GuestMemory& memory, GuestPhysicalAddress at, const Range& values) {
  US_CHECK(memory.write(at, std::as_bytes(std::span{values})));
}

void put_table(GuestMemory& memory, GuestPhysicalAddress at, std::size_t room_bytes, const std::vector<std::byte>& table) {
  US_CHECK(table.size() <= room_bytes);
  put(memory, at, table);
}

}  // namespace

std::string with_kernel_words(std::string command_line, const std::string& words) {
  command_line.insert(std::min(command_line.find(" -- "), command_line.size()), words);
  return command_line;
}

Result<BootEntry> load_guest(const BootConfig& config, GuestMemory& memory) {
  if (config.command_line.find('\0') != std::string::npos) return Error{ErrorCode::kInvalid, "the guest's command line holds a zero byte"};
  auto kernel = load_kernel(config.kernel_path, config.protocol, memory);
  if (!kernel) return std::move(kernel.error()).within("kernel " + config.kernel_path);
  if (config.command_line.size() > kernel->max_command_line_bytes)
    return Error{ErrorCode::kInvalid, fmt::format("the guest's command line has {} bytes with its virtio devices, {} are possible",
                                                  config.command_line.size(), kernel->max_command_line_bytes)};
  std::optional<InitrdPlace> initrd;
  if (!config.initrd_path.empty()) {
    auto place = load_initrd(config.initrd_path, *kernel, memory);
    if (!place) return std::move(place.error()).within("initrd " + config.initrd_path);
    initrd = *place;
  }
  put(memory, boot_map::kGdt, make_gdt());
  put(memory, boot_map::kPml4, make_identity_page_tables());
  put(memory, boot_map::kCommandLine, std::span{config.command_line.c_str(), config.command_line.size() + 1});
  const auto e820 = boot_map::e820_map(memory.layout());
  put(memory, boot_map::kZeroPage,
      make_zero_page({.e820 = e820,
                      .command_line_bytes = config.command_line.size(),
                      .initrd = initrd,
                      .rsdp = boot_map::kAcpiTables,
                      .setup_header = kernel->setup_header}));
  put_table(memory, boot_map::kPvhStartInfo, boot_map::kPvhStartInfoBytes,
            make_pvh_start_info({.e820 = e820, .initrd = initrd, .rsdp = boot_map::kAcpiTables}, boot_map::kPvhStartInfo));
  put_table(memory, boot_map::kMpTable, boot_map::kMpTableBytes, make_mp_table(config.vcpu_count, boot_map::kMpTable));
  put_table(memory, boot_map::kAcpiTables, boot_map::kAcpiTablesBytes,
            make_acpi_tables(config.vcpu_count, config.devices, boot_map::kAcpiTables));
  return kernel->entry;
}

}  // namespace understudy
