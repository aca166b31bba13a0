#include "vmm/boot/loader.h"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>
#include <sys/stat.h>

#include "vmm/boot/elf.h"
#include "vmm/boot/long_mode.h"
#include "vmm/boot/memory_map.h"
#include "vmm/boot/mp_table.h"
#include "vmm/boot/zero_page.h"

namespace understudy {
namespace {

class File {
 public:
  static Result<File> open(const std::string& path) {
    UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!fd) return invalid(Error::from_errno("open"));
    struct stat info {};
    if (::fstat(fd.get(), &info) < 0) return invalid(Error::from_errno("fstat"));
    if (!S_ISREG(info.st_mode)) return Error{ErrorCode::kInvalid, "is not a regular file"};
    return File{std::move(fd), static_cast<std::uint64_t>(info.st_size)};
  }
  std::uint64_t bytes() const { return bytes_; }

  Result<void> read_at(std::uint64_t offset, MutableBytes into) const {
    for (std::size_t done = 0; done < into.size();) {
      const ssize_t got = ::pread(fd_.get(), into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return invalid(Error::from_errno(fmt::format("read {} bytes at {:#x}", into.size(), offset)));
      if (got == 0) return Error{ErrorCode::kInvalid, fmt::format("is short: it ended at {:#x} while being read", offset + done)};
      done += static_cast<std::size_t>(got);
    }
    return {};
  }

 private:
  File(UniqueFd fd, std::uint64_t bytes) : fd_{std::move(fd)}, bytes_{bytes} {}
  // A wrong path is bad input, whatever errno says.
  static Error invalid(const Error& error) { return Error{ErrorCode::kInvalid, error.text()}; }
  UniqueFd fd_;
  std::uint64_t bytes_;
};

struct LoadedKernel {
  GuestPhysicalAddress entry;
  GuestPhysicalAddress end;  // of its highest segment in the first region: an initrd lies above
};

Result<LoadedKernel> load_kernel(const std::string& path, GuestMemory& memory) {
  US_ASSIGN(const File file, File::open(path));
  std::vector<std::byte> head(std::min<std::uint64_t>(file.bytes(), kElfHeadBytes));
  US_TRY(file.read_at(0, head));
  US_ASSIGN(const ElfImage image, parse_elf(head, file.bytes()));
  US_TRY(check_fits(image, memory.layout(), boot_map::kKernelLowest));
  LoadedKernel loaded{image.entry, boot_map::kKernelLowest};
  for (const auto& segment : image.segments) {
    const auto target = memory.at(segment.start, segment.memory_bytes);
    US_CHECK(target.has_value());
    US_TRY(file.read_at(segment.file_offset, target->first(segment.file_bytes)));
    // The memory may have carried another guest before.
    std::ranges::fill(target->subspan(segment.file_bytes), std::byte{0});
    memory.mark_written(segment.start, segment.memory_bytes);
    if (segment.start.raw() < GuestMemory::kHoleStart)
      loaded.end = std::max(loaded.end, GuestPhysicalAddress{segment.start.raw() + segment.memory_bytes});
  }
  return loaded;
}

Result<InitrdPlace> load_initrd(const std::string& path, GuestPhysicalAddress lowest, GuestMemory& memory) {
  US_ASSIGN(const File file, File::open(path));
  if (file.bytes() == 0) return Error{ErrorCode::kInvalid, "is empty"};
  const auto place = place_initrd(file.bytes(), memory.layout(), lowest);
  if (!place)
    return Error{ErrorCode::kInvalid, fmt::format("its {} bytes do not fit into guest memory above the kernel, which ends at {:#x}",
                                                  file.bytes(), lowest.raw())};
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

}  // namespace

Result<GuestPhysicalAddress> load_guest(const BootConfig& config, GuestMemory& memory) {
  if (config.command_line.size() > boot_map::kMaxCommandLineBytes)
    return Error{ErrorCode::kInvalid, fmt::format("the guest's command line has {} bytes with its virtio devices, {} are possible",
                                                  config.command_line.size(), boot_map::kMaxCommandLineBytes)};
  if (config.command_line.find('\0') != std::string::npos) return Error{ErrorCode::kInvalid, "the guest's command line holds a zero byte"};
  auto kernel = load_kernel(config.kernel_path, memory);
  if (!kernel) return std::move(kernel.error()).within("kernel " + config.kernel_path);
  std::optional<InitrdPlace> initrd;
  if (!config.initrd_path.empty()) {
    auto place = load_initrd(config.initrd_path, kernel->end, memory);
    if (!place) return std::move(place.error()).within("initrd " + config.initrd_path);
    initrd = *place;
  }
  put(memory, boot_map::kGdt, make_gdt());
  put(memory, boot_map::kPml4, make_identity_page_tables());
  put(memory, boot_map::kCommandLine, std::span{config.command_line.c_str(), config.command_line.size() + 1});
  put(memory, boot_map::kZeroPage, make_zero_page(boot_map::e820_map(memory.layout()), config.command_line.size(), initrd));
  const auto mp_table = make_mp_table(config.vcpu_count, boot_map::kMpTable);
  US_CHECK(mp_table.size() <= boot_map::kMpTableBytes);
  put(memory, boot_map::kMpTable, mp_table);
  return kernel->entry;
}

}  // namespace understudy
