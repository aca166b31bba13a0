// Redis's protocol, RESP2, as far as the lab speaks it (redis.io, "Redis serialization protocol specification"). Pure; trusts nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/base/result.h"

namespace understudy::lab {

struct RespValue {
  enum class Kind : std::uint8_t { kSimple, kError, kInteger, kBulk, kNull, kArray };
  Kind kind = Kind::kNull;
  std::string text;              // simple string, error or bulk string
  std::int64_t integer = 0;      // integer
  std::vector<RespValue> items;  // array

  bool is(Kind wanted, std::string_view with) const { return kind == wanted && text == with; }
  // For messages: "+OK", ":7", "nil".
  std::string describe() const;
};

// A command as clients send it, and as the append-only file holds it: an array of bulk strings.
std::string resp_command(std::initializer_list<std::string_view> words);

// Takes one value from the front of `bytes`; nullopt when more bytes are needed, and then nothing is taken. kCorrupt: not RESP. Strings up
// to 1 MiB, arrays up to 1,024 items, one level deep.
Result<std::optional<RespValue>> take_resp(std::string_view& bytes);

}  // namespace understudy::lab
