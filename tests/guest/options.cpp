#include "tests/guest/options.h"

#include <optional>

namespace understudy::guest {
namespace {

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// Takes a decimal or 0x-hexadecimal number off the front.
std::optional<std::uint64_t> take_number(std::string_view& text) {
  const std::uint64_t base = take_prefix(text, "0x") ? 16 : 10;
  std::uint64_t value = 0;
  std::size_t digits = 0;
  for (; digits < text.size(); ++digits) {
    const char c = text[digits];
    std::uint64_t digit = 0;
    if (c >= '0' && c <= '9')
      digit = static_cast<std::uint64_t>(c - '0');
    else if (base == 16 && c >= 'a' && c <= 'f')
      digit = static_cast<std::uint64_t>(c - 'a' + 10);
    else
      break;
    if (value > (UINT64_MAX - digit) / base) return std::nullopt;
    value = value * base + digit;
  }
  if (digits == 0) return std::nullopt;
  text.remove_prefix(digits);
  return value;
}

bool parse_number(std::string_view text, std::uint64_t min, std::uint64_t max, std::uint64_t& out) {
  const auto value = take_number(text);
  if (!value || !text.empty() || *value < min || *value > max) return false;
  out = *value;
  return true;
}

bool parse_mode(std::string_view text, bool background, Mode& out) {
  if (text == "torture")
    out = Mode::kTorture;
  else if (text == "dirtier")
    out = Mode::kDirtier;
  else if (!background && text == "kv")
    out = Mode::kKv;
  else if (!background && text == "blklog")
    out = Mode::kBlockLog;
  else
    return false;
  return true;
}

bool parse_ip(std::string_view text, std::uint32_t& out) {
  std::uint32_t ip = 0;
  for (int i = 0; i < 4; ++i) {
    if (i > 0 && !take_prefix(text, ".")) return false;
    const auto byte = take_number(text);
    if (!byte || *byte > 255) return false;
    ip = ip << 8 | static_cast<std::uint32_t>(*byte);
  }
  if (!text.empty()) return false;
  out = ip;
  return true;
}

// "4K@0xd0000000:5", as Linux's virtio_mmio.device takes it.
bool parse_device(std::string_view text, Options& out) {
  const auto size = take_number(text);
  if (!size || !take_prefix(text, "K@")) return false;
  const auto base = take_number(text);
  if (!base || *base < 0xc000'0000 || *base > 0xffff'f000 || !take_prefix(text, ":")) return false;
  std::uint64_t gsi = 0;
  if (!parse_number(text, 0, 23, gsi) || out.device_count == out.devices.size()) return false;
  out.devices[out.device_count++] = {*base, static_cast<std::uint32_t>(gsi)};
  return true;
}

// False: the word is ours, and its value cannot be.
bool parse_word(std::string_view word, Options& out) {
  if (take_prefix(word, "mode=")) return parse_mode(word, false, out.mode);
  if (take_prefix(word, "background=")) return parse_mode(word, true, out.background);
  if (take_prefix(word, "ip=")) return parse_ip(word, out.ip);
  if (take_prefix(word, "virtio_mmio.device=")) return parse_device(word, out);
  if (take_prefix(word, "log=")) {
    out.log = word == "1";
    return word == "0" || word == "1";
  }
  struct Number {
    std::string_view name;
    std::uint64_t min, max;
    std::uint64_t* out;
  };
  const Number numbers[] = {
      {"tsc_khz=", 1'000, 100'000'000, &out.tsc_khz},
      {"duty_percent=", 1, 100, &out.duty_percent},
      {"pages_per_second=", 1, 100'000'000, &out.pages_per_second},
      {"bytes_per_page=", 8, 4'096, &out.bytes_per_page},
      {"working_set_pages=", 1, 786'432, &out.working_set_pages},
      {"records_per_second=", 0, 1'000'000, &out.records_per_second},
      {"burst=", 1, 16, &out.burst},
      {"log_start_sector=", 0, UINT64_MAX >> 16, &out.log_start_sector},
      {"log_sectors=", 64, 65'536, &out.log_sectors},
  };
  for (const auto& number : numbers) {
    if (take_prefix(word, number.name)) return parse_number(word, number.min, number.max, *number.out);
  }
  return true;
}

}  // namespace

Options parse_options(std::string_view line) {
  Options out;
  while (!line.empty()) {
    const std::size_t end = line.find(' ');
    const std::string_view word = line.substr(0, end);
    if (!parse_word(word, out) && out.bad.empty()) out.bad = word;
    line.remove_prefix(end == std::string_view::npos ? line.size() : end + 1);
  }
  if (out.bytes_per_page % 8 != 0 && out.bad.empty()) out.bad = "bytes_per_page";
  return out;
}

}  // namespace understudy::guest
