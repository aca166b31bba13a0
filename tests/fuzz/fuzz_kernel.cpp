// A kernel's headers, sound ones that the input then changes: whatever is accepted lies within the file, above the boot data and in guest
// memory, and does not overlap.
#include "input_reader.h"
#include "net/base/check.h"
#include "tests/support/kernel_files.h"
#include "vmm/boot/bzimage.h"
#include "vmm/boot/elf.h"
#include "vmm/boot/memory_map.h"
#include "vmm/boot/pvh.h"

namespace understudy {
namespace {

constexpr std::uint64_t kMemoryBytes = std::uint64_t{64} << 20;
constexpr std::uint64_t kHighBytes = std::uint64_t{1} << 20;

const MemoryLayout& layout() {
  static const MemoryLayout layout{
      {{GuestPhysicalAddress{0}, PageIndex{0}, kMemoryBytes / kPageSizeBytes},
       {GuestPhysicalAddress{1ULL << 32}, PageIndex{kMemoryBytes / kPageSizeBytes}, kHighBytes / kPageSizeBytes}}};
  return layout;
}

// A few fields of one to eight bytes; the header may also be cut.
void change(InputReader& input, std::vector<std::byte>& head) {
  while (!input.done()) {
    const std::size_t at = input.take<std::uint16_t>() % head.size();
    const std::size_t length = std::min<std::size_t>(std::size_t{1} << (input.byte() % 4), head.size() - at);
    const auto value = input.byte() % 2 == 0 ? input.byte() : input.take<std::uint64_t>();
    std::memcpy(head.data() + at, &value, length);
  }
}

void run_elf(InputReader input, std::vector<std::byte> head, std::uint64_t file_bytes) {
  if (input.byte() % 16 == 0) head.resize(input.byte());
  if (head.empty()) return;
  change(input, head);
  const auto image = parse_elf(head, file_bytes);
  if (!image) return;
  US_CHECK(is_elf(head) && !image->segments.empty());
  for (std::size_t i = 0; i < image->segments.size(); ++i) {
    const auto& segment = image->segments[i];
    US_CHECK(segment.memory_bytes > 0 && segment.file_bytes <= segment.memory_bytes);
    US_CHECK(segment.file_offset <= file_bytes && segment.file_bytes <= file_bytes - segment.file_offset);
    if (i > 0) US_CHECK(segment.start.raw() - image->segments[i - 1].start.raw() >= image->segments[i - 1].memory_bytes);
  }
  for (const auto& notes : image->notes) US_CHECK(notes.file_offset <= file_bytes && notes.file_bytes <= file_bytes - notes.file_offset);
  if (!check_fits(*image, layout(), boot_map::kKernelLowest)) return;
  for (const auto& segment : image->segments) {
    const std::uint64_t start = segment.start.raw();
    const bool low = start >= boot_map::kKernelLowest.raw() && start < kMemoryBytes && segment.memory_bytes <= kMemoryBytes - start;
    const bool high = start >= 1ULL << 32 && segment.memory_bytes <= kHighBytes - (start - (1ULL << 32));
    US_CHECK(low || high);
  }
}

void run_notes(InputReader input) {
  const std::byte content[4] = {};
  auto notes = make_note("GNU", 1, content);
  const auto pvh = make_pvh_note(0x10'0000);
  notes.insert(notes.end(), pvh.begin(), pvh.end());
  const std::size_t alignment = input.byte() % 2 == 0 ? 4 : 8;
  if (input.byte() % 16 == 0) notes.resize(input.byte() % notes.size() + 1);
  change(input, notes);
  const auto entry = find_pvh_entry(notes, alignment);
  if (entry && *entry) US_CHECK((*entry)->raw() < 1ULL << 32);
}

void run_bzimage(InputReader input) {
  const BzImageFile file;
  auto head = file.bytes();
  if (input.byte() % 16 == 0) head.resize(input.take<std::uint16_t>() % head.size() + 1);
  change(input, head);
  const auto image = parse_bzimage(head, file.file_bytes);
  if (!image) return;
  US_CHECK(is_bzimage(head) && image->setup_header.size() <= kSetupHeaderMaxEnd - kSetupHeaderOffset);
  US_CHECK(image->file_offset <= file.file_bytes && image->file_bytes <= file.file_bytes - image->file_offset);
  US_CHECK(image->file_bytes > kBzImageEntryOffset && image->file_bytes <= image->init_bytes);
  const auto start = place_bzimage(*image, layout(), boot_map::kKernelLowest);
  if (!start) return;
  US_CHECK(*start >= boot_map::kKernelLowest && start->raw() < kMemoryBytes && image->init_bytes <= kMemoryBytes - start->raw());
  US_CHECK(*start == image->preferred_start || (image->relocatable && start->raw() % image->alignment_bytes == 0));
}

}  // namespace
}  // namespace understudy

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const understudy::InputReader input{data + 1, size - 1};
  switch (data[0] % 4) {
    case 0: {
      const understudy::ElfFile file;
      understudy::run_elf(input, file.head(), file.file_bytes);
      return 0;
    }
    case 1: {
      const auto file = understudy::Elf32File{}.bytes();
      understudy::run_elf(input, file, file.size());
      return 0;
    }
    case 2:
      understudy::run_notes(input);
      return 0;
    default:
      understudy::run_bzimage(input);
      return 0;
  }
}
