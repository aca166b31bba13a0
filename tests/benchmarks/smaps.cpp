#include "tests/benchmarks/smaps.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>

#include <fmt/format.h>

namespace understudy::bench {

namespace {

constexpr std::uint64_t kKibibyte = 1024;
constexpr std::string_view kPss = "Pss:";
constexpr std::string_view kMemfd = " /memfd:";

std::optional<std::uint64_t> number_at(std::string_view text, int base) {
  std::uint64_t value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (failed != std::errc{}) return std::nullopt;
  return value;
}

// The length of a mapping whose line begins "start-end "; nullopt for any other line ("Name:  value").
std::optional<std::uint64_t> mapping_bytes(std::string_view line) {
  const auto dash = line.find('-');
  if (dash == std::string_view::npos || line.substr(0, dash).find_first_not_of("0123456789abcdef") != std::string_view::npos)
    return std::nullopt;
  const auto start = number_at(line, 16);
  const auto end = number_at(line.substr(dash + 1), 16);
  if (!start || !end || *end < *start) return std::nullopt;
  return *end - *start;
}

// Which file the line of a mapping names: its device, inode and path, behind addresses, permissions and offset.
std::string_view file_of(std::string_view line) {
  for (int field = 0; field < 3; ++field) line.remove_prefix(std::min(line.size(), line.find(' ') + 1));
  return line;
}

}  // namespace

Result<std::uint64_t> pss_beyond_guest(std::string_view smaps, std::uint64_t guest_bytes) {
  std::uint64_t total_kib = 0;
  std::map<std::string_view, std::uint64_t> memfd_bytes;
  bool of_memfd = false;
  while (!smaps.empty()) {
    const auto line = smaps.substr(0, smaps.find('\n'));
    smaps.remove_prefix(std::min(smaps.size(), line.size() + 1));
    if (const auto bytes = mapping_bytes(line)) {
      of_memfd = line.find(kMemfd) != std::string_view::npos;
      if (of_memfd) memfd_bytes[file_of(line)] += *bytes;
    } else if (line.starts_with(kPss) && !of_memfd) {
      const auto kib = number_at(line.substr(std::min(line.size(), line.find_first_of("0123456789"))), 10);
      if (!kib) return Error{ErrorCode::kCorrupt, fmt::format("read smaps: '{}' has no number", line)};
      total_kib += *kib;
    }
  }
  if (std::ranges::none_of(memfd_bytes, [&](const auto& memfd) { return memfd.second == guest_bytes; }))
    return Error{ErrorCode::kCorrupt,
                 fmt::format("read smaps: none of {} memfds is mapped with the {} bytes of guest memory", memfd_bytes.size(), guest_bytes)};
  return total_kib * kKibibyte;
}

}  // namespace understudy::bench
