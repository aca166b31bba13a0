#include "tests/lab/resp.h"

#include <charconv>

#include <fmt/format.h>

namespace understudy::lab {

namespace {

constexpr std::int64_t kMaxStringBytes = std::int64_t{1} << 20;
constexpr std::int64_t kMaxItems = 1024;
constexpr std::size_t kMaxLineBytes = 4096;
constexpr std::string_view kLineEnd = "\r\n";

Error corrupt(const std::string& what) { return Error{ErrorCode::kCorrupt, "read RESP: " + what}; }

// The rest of a line, without its end.
Result<std::optional<std::string_view>> take_line(std::string_view& bytes) {
  const auto end = bytes.find(kLineEnd);
  if (end == std::string_view::npos ? bytes.size() > kMaxLineBytes : end > kMaxLineBytes)
    return corrupt(fmt::format("a line of more than {} bytes", kMaxLineBytes));
  if (end == std::string_view::npos) return std::optional<std::string_view>{};
  const auto line = bytes.substr(0, end);
  bytes.remove_prefix(end + kLineEnd.size());
  return std::optional{line};
}

Result<std::int64_t> parse_number(std::string_view text, std::int64_t least, std::int64_t most) {
  std::int64_t number = 0;
  const auto [stop, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failed != std::errc{} || stop != text.data() + text.size() || number < least || number > most)
    return corrupt(fmt::format("expected a number from {} to {}, found '{}'", least, most, text.substr(0, 40)));
  return number;
}

Result<std::optional<RespValue>> take_value(std::string_view& bytes, bool within_array) {
  std::string_view rest = bytes;
  if (rest.empty()) return std::optional<RespValue>{};
  const char type = rest.front();
  rest.remove_prefix(1);
  US_ASSIGN(const auto line, take_line(rest));
  if (!line) return std::optional<RespValue>{};
  RespValue value;
  switch (type) {
    case '+':
    case '-':
      value.kind = type == '+' ? RespValue::Kind::kSimple : RespValue::Kind::kError;
      value.text = *line;
      break;
    case ':': {
      value.kind = RespValue::Kind::kInteger;
      US_ASSIGN(value.integer, parse_number(*line, INT64_MIN, INT64_MAX));
      break;
    }
    case '$': {
      US_ASSIGN(const auto length, parse_number(*line, -1, kMaxStringBytes));
      if (length < 0) break;
      const auto size = static_cast<std::size_t>(length);
      if (rest.size() < size + kLineEnd.size()) return std::optional<RespValue>{};
      if (rest.substr(size, kLineEnd.size()) != kLineEnd) return corrupt(fmt::format("a string of {} bytes does not end after them", size));
      value.kind = RespValue::Kind::kBulk;
      value.text = rest.substr(0, size);
      rest.remove_prefix(size + kLineEnd.size());
      break;
    }
    case '*': {
      if (within_array) return corrupt("an array within an array");
      US_ASSIGN(const auto count, parse_number(*line, -1, kMaxItems));
      if (count < 0) break;
      value.kind = RespValue::Kind::kArray;
      while (value.items.size() < static_cast<std::size_t>(count)) {
        US_ASSIGN(auto item, take_value(rest, true));
        if (!item) return std::optional<RespValue>{};
        value.items.push_back(std::move(*item));
      }
      break;
    }
    default:
      return corrupt(fmt::format("a value starts with byte 0x{:02x}", static_cast<unsigned char>(type)));
  }
  bytes = rest;
  return std::optional{std::move(value)};
}

}  // namespace

std::string RespValue::describe() const {
  constexpr std::size_t kMostShown = 80;
  switch (kind) {
    case Kind::kSimple:
      return '+' + text.substr(0, kMostShown);
    case Kind::kError:
      return '-' + text.substr(0, kMostShown);
    case Kind::kInteger:
      return ':' + std::to_string(integer);
    case Kind::kBulk:
      return '"' + text.substr(0, kMostShown) + '"';
    case Kind::kNull:
      return "nil";
    case Kind::kArray:
      return fmt::format("an array of {}", items.size());
  }
  return "?";
}

std::string resp_command(std::initializer_list<std::string_view> words) {
  std::string text = fmt::format("*{}\r\n", words.size());
  for (const auto word : words) text += fmt::format("${}\r\n{}\r\n", word.size(), word);
  return text;
}

Result<std::optional<RespValue>> take_resp(std::string_view& bytes) { return take_value(bytes, false); }

}  // namespace understudy::lab
