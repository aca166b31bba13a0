#include "tests/guest/boot_params.h"

#include <cstring>

namespace understudy::guest {
namespace {

constexpr std::size_t kExtCommandLine = 0x0c8;
constexpr std::size_t kE820Count = 0x1e8;
constexpr std::size_t kCommandLine = 0x228;
constexpr std::size_t kE820Table = 0x2d0;
constexpr std::size_t kE820MaxEntries = 128;
constexpr std::uint32_t kE820Ram = 1;

struct [[gnu::packed]] E820Entry {
  std::uint64_t start;
  std::uint64_t bytes;
  std::uint32_t type;
};
static_assert(sizeof(E820Entry) == 20);

template <class Value>
Value load(std::span<const unsigned char, 4096> page, std::size_t at) {
  Value value{};
  std::memcpy(&value, page.data() + at, sizeof value);
  return value;
}

}  // namespace

BootParams parse_boot_params(std::span<const unsigned char, 4096> zero_page, std::uint64_t needed) {
  BootParams out{};
  out.command_line = load<std::uint32_t>(zero_page, kCommandLine) | std::uint64_t{load<std::uint32_t>(zero_page, kExtCommandLine)} << 32;
  for (std::size_t i = 0; i < zero_page[kE820Count] && i < kE820MaxEntries; ++i) {
    const auto entry = load<E820Entry>(zero_page, kE820Table + i * sizeof(E820Entry));
    if (entry.type == kE820Ram && needed >= entry.start && needed - entry.start < entry.bytes) out.ram_end = entry.start + entry.bytes;
  }
  return out;
}

}  // namespace understudy::guest
