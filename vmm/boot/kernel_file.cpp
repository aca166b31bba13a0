#include "vmm/boot/kernel_file.h"

#include <algorithm>

#include "net/base/check.h"
#include "vmm/boot/bzimage.h"
#include "vmm/boot/elf.h"
#include "vmm/boot/file.h"

namespace understudy {
namespace {

static_assert(kElfHeadBytes >= kSetupHeaderMaxEnd);

// `file_bytes` of the file to `start`, which is guest memory; what `memory_bytes` has beyond becomes zeros.
Result<void> load_piece(const BootFile& file, const ElfSegment& piece, GuestMemory& memory) {
  const auto target = memory.at(piece.start, piece.memory_bytes);
  US_CHECK(target.has_value());
  US_TRY(file.read_at(piece.file_offset, target->first(piece.file_bytes)));
  // The memory may have carried another guest before.
  std::ranges::fill(target->subspan(piece.file_bytes), std::byte{0});
  memory.mark_written(piece.start, piece.memory_bytes);
  return {};
}

Result<LoadedKernel> load_elf(const BootFile& file, ConstBytes head, GuestMemory& memory) {
  US_ASSIGN(const ElfImage image, parse_elf(head, file.bytes()));
  US_TRY(check_fits(image, memory.layout(), boot_map::kKernelLowest));
  LoadedKernel loaded{.entry = image.entry};
  for (const auto& segment : image.segments) {
    US_TRY(load_piece(file, segment, memory));
    if (segment.start.raw() < GuestMemory::kHoleStart)
      loaded.end = std::max(loaded.end, GuestPhysicalAddress{segment.start.raw() + segment.memory_bytes});
  }
  return loaded;
}

Result<LoadedKernel> load_bzimage(const BootFile& file, ConstBytes head, GuestMemory& memory) {
  US_ASSIGN(BzImage image, parse_bzimage(head, file.bytes()));
  US_ASSIGN(const GuestPhysicalAddress start, place_bzimage(image, memory.layout(), boot_map::kKernelLowest));
  US_TRY(load_piece(file, {start, image.file_bytes, image.file_offset, image.file_bytes}, memory));
  return LoadedKernel{.entry = GuestPhysicalAddress{start.raw() + kBzImageEntryOffset},
                      .end = GuestPhysicalAddress{start.raw() + image.init_bytes},
                      .initrd_end = std::min(image.initrd_end, boot_map::kInitrdEnd),
                      .max_command_line_bytes = std::min<std::size_t>(image.max_command_line_bytes, boot_map::kMaxCommandLineBytes),
                      .setup_header = std::move(image.setup_header)};
}

}  // namespace

Result<LoadedKernel> load_kernel(const std::string& path, GuestMemory& memory) {
  US_ASSIGN(const BootFile file, BootFile::open(path));
  std::vector<std::byte> head(std::min<std::uint64_t>(file.bytes(), kElfHeadBytes));
  US_TRY(file.read_at(0, head));
  if (is_elf(head)) return load_elf(file, head, memory);
  if (is_bzimage(head)) return load_bzimage(file, head, memory);
  return Error{ErrorCode::kInvalid, "is neither an ELF file (vmlinux) nor a Linux boot image (bzImage)"};
}

}  // namespace understudy
