#include "vmm/boot/pvh.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <elf.h>
#include <limits>

#include <fmt/format.h>

#include "net/base/check.h"
#include "vmm/boot/invalid.h"

namespace understudy {
namespace {

constexpr std::uint32_t kPhys32Entry = 18;  // XEN_ELFNOTE_PHYS32_ENTRY
constexpr char kXen[] = "Xen";              // with its final zero, as the note has it
constexpr std::uint32_t kMagic = 0x336E'C578;
constexpr std::uint32_t kVersion = 1;

struct StartInfo {
  std::uint32_t magic = kMagic;
  std::uint32_t version = kVersion;
  std::uint32_t flags = 0;
  std::uint32_t modules = 0;
  std::uint64_t module_list = 0;
  std::uint64_t command_line = boot_map::kCommandLine.raw();
  std::uint64_t rsdp = 0;
  std::uint64_t memory_map = 0;
  std::uint32_t memory_map_entries = 0;
  std::uint32_t reserved = 0;
};
static_assert(sizeof(StartInfo) == 56);

struct Module {
  std::uint64_t start = 0;
  std::uint64_t bytes = 0;
  std::uint64_t command_line = 0;
  std::uint64_t reserved = 0;
};
static_assert(sizeof(Module) == 32);

struct MapEntry {
  std::uint64_t start = 0;
  std::uint64_t bytes = 0;
  std::uint32_t kind = 0;  // as E820's
  std::uint32_t reserved = 0;
};
static_assert(sizeof(MapEntry) == 24);

// The value of a note's content, which Linux makes 8 bytes and a 32-bit kernel 4.
Result<std::optional<GuestPhysicalAddress>> entry_in(ConstBytes content) {
  if (content.size() != 4 && content.size() != 8)
    return invalid(fmt::format("has a PVH entry point of {} bytes, 4 or 8 are expected", content.size()));
  std::uint64_t value = 0;
  std::memcpy(&value, content.data(), content.size());
  if (value > std::numeric_limits<std::uint32_t>::max()) return invalid(fmt::format("has a PVH entry point above 4 GiB: {:#x}", value));
  return std::optional{GuestPhysicalAddress{value}};
}

template <class T>
void append(std::vector<std::byte>& to, const T& value) {
  const auto bytes = std::as_bytes(std::span{&value, 1});
  to.insert(to.end(), bytes.begin(), bytes.end());
}

}  // namespace

Result<std::optional<GuestPhysicalAddress>> find_pvh_entry(ConstBytes notes, std::size_t alignment) {
  US_CHECK(alignment == 4 || alignment == 8);
  const auto padded = [&](std::uint32_t bytes) { return (std::uint64_t{bytes} + alignment - 1) / alignment * alignment; };
  // The 32- and the 64-bit note headers are the same.
  while (notes.size() >= sizeof(Elf64_Nhdr)) {
    Elf64_Nhdr note{};
    std::memcpy(&note, notes.data(), sizeof note);
    notes = notes.subspan(sizeof note);
    const std::uint64_t name_bytes = padded(note.n_namesz);
    // The last one's padding may be left out.
    if (name_bytes > notes.size() || note.n_descsz > notes.size() - name_bytes) return invalid("has a note that ends beyond its segment");
    const bool xen = note.n_namesz == sizeof kXen && std::memcmp(notes.data(), kXen, sizeof kXen) == 0;
    const ConstBytes content = notes.subspan(name_bytes, note.n_descsz);
    if (xen && note.n_type == kPhys32Entry) return entry_in(content);
    notes = notes.subspan(std::min<std::uint64_t>(notes.size(), name_bytes + padded(note.n_descsz)));
  }
  return std::optional<GuestPhysicalAddress>{};
}

std::vector<std::byte> make_pvh_start_info(const PvhContent& content, GuestPhysicalAddress at) {
  StartInfo info;
  info.rsdp = content.rsdp.raw();
  info.modules = content.initrd ? 1 : 0;
  info.module_list = content.initrd ? at.raw() + sizeof info : 0;
  info.memory_map = at.raw() + sizeof info + info.modules * sizeof(Module);
  info.memory_map_entries = static_cast<std::uint32_t>(content.e820.size());
  std::vector<std::byte> bytes;
  append(bytes, info);
  if (content.initrd) append(bytes, Module{.start = content.initrd->start.raw(), .bytes = content.initrd->bytes});
  for (const auto& range : content.e820)
    append(bytes, MapEntry{.start = range.start, .bytes = range.bytes, .kind = static_cast<std::uint32_t>(range.kind)});
  return bytes;
}

}  // namespace understudy
