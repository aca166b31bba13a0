#include "vmm/boot/kernel_file.h"

#include <algorithm>

#include <fmt/format.h>

#include "net/base/check.h"
#include "vmm/boot/bzimage.h"
#include "vmm/boot/elf.h"
#include "vmm/boot/file.h"
#include "vmm/boot/pvh.h"

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

// More than any kernel has.
constexpr std::uint64_t kMaxNotesBytes = 1 << 20;

Result<std::optional<GuestPhysicalAddress>> read_pvh_entry(const BootFile& file, const ElfImage& image) {
  for (const auto& notes : image.notes) {
    if (notes.file_bytes > kMaxNotesBytes)
      return Error{ErrorCode::kInvalid, fmt::format("has {:#x} bytes of notes, {:#x} are possible", notes.file_bytes, kMaxNotesBytes)};
    std::vector<std::byte> bytes(notes.file_bytes);
    US_TRY(file.read_at(notes.file_offset, bytes));
    US_ASSIGN(const auto entry, find_pvh_entry(bytes, notes.alignment));
    if (entry) return std::optional{*entry};
  }
  return std::optional<GuestPhysicalAddress>{};
}

Result<BootEntry> find_entry(const BootFile& file, const ElfImage& image, std::optional<BootProtocol> protocol) {
  const bool has_64bit = image.is_64bit && image.holds(image.entry);
  if (has_64bit && protocol != BootProtocol::kPvh) return BootEntry{BootProtocol::kLinux64, image.entry};
  const std::string why =
      image.is_64bit ? fmt::format("its entry point {:#x} lies in no segment", image.entry.raw()) : "it is a 32-bit file";
  if (protocol == BootProtocol::kLinux64) return Error{ErrorCode::kInvalid, "can't be started by the 64-bit boot protocol: " + why};
  US_ASSIGN(const auto pvh, read_pvh_entry(file, image));
  if (!pvh) {
    return Error{ErrorCode::kInvalid, has_64bit
                                          ? "can't be started by PVH: it has no XEN_ELFNOTE_PHYS32_ENTRY note"
                                          : "can't be started: " + why + ", and it has no PVH entry point (XEN_ELFNOTE_PHYS32_ENTRY note)"};
  }
  if (!image.holds(*pvh)) return Error{ErrorCode::kInvalid, fmt::format("has a PVH entry point {:#x} that lies in no segment", pvh->raw())};
  return BootEntry{BootProtocol::kPvh, *pvh};
}

Result<LoadedKernel> load_elf(const BootFile& file, ConstBytes head, std::optional<BootProtocol> protocol, GuestMemory& memory) {
  US_ASSIGN(const ElfImage image, parse_elf(head, file.bytes()));
  US_ASSIGN(const BootEntry entry, find_entry(file, image, protocol));
  US_TRY(check_fits(image, memory.layout(), boot_map::kKernelLowest));
  LoadedKernel loaded{.entry = entry};
  for (const auto& segment : image.segments) {
    US_TRY(load_piece(file, segment, memory));
    if (segment.start.raw() < GuestMemory::kHoleStart)
      loaded.end = std::max(loaded.end, GuestPhysicalAddress{segment.start.raw() + segment.memory_bytes});
  }
  return loaded;
}

Result<LoadedKernel> load_bzimage(const BootFile& file, ConstBytes head, std::optional<BootProtocol> protocol, GuestMemory& memory) {
  if (protocol == BootProtocol::kPvh)
    return Error{ErrorCode::kInvalid, "can't be started by PVH: it is a Linux boot image (bzImage), and only an ELF file (vmlinux) can"};
  US_ASSIGN(BzImage image, parse_bzimage(head, file.bytes()));
  US_ASSIGN(const GuestPhysicalAddress start, place_bzimage(image, memory.layout(), boot_map::kKernelLowest));
  US_TRY(load_piece(file, {start, image.file_bytes, image.file_offset, image.file_bytes}, memory));
  return LoadedKernel{.entry = {BootProtocol::kLinux64, GuestPhysicalAddress{start.raw() + kBzImageEntryOffset}},
                      .end = GuestPhysicalAddress{start.raw() + image.init_bytes},
                      .initrd_end = std::min(image.initrd_end, boot_map::kInitrdEnd),
                      .max_command_line_bytes = std::min<std::size_t>(image.max_command_line_bytes, boot_map::kMaxCommandLineBytes),
                      .setup_header = std::move(image.setup_header)};
}

}  // namespace

Result<LoadedKernel> load_kernel(const std::string& path, std::optional<BootProtocol> protocol, GuestMemory& memory) {
  US_ASSIGN(const BootFile file, BootFile::open(path));
  std::vector<std::byte> head(std::min<std::uint64_t>(file.bytes(), kElfHeadBytes));
  US_TRY(file.read_at(0, head));
  if (is_elf(head)) return load_elf(file, head, protocol, memory);
  if (is_bzimage(head)) return load_bzimage(file, head, protocol, memory);
  return Error{ErrorCode::kInvalid, "is neither an ELF file (vmlinux) nor a Linux boot image (bzImage)"};
}

}  // namespace understudy
