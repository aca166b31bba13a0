// Schemas as JSON, for scripts: the schema's names, and numbers as numbers.
#pragma once

#include <cstdint>
#include <string>

#include <capnp/compat/json.h>

namespace understudy {

// Cap'n Proto prints 64-bit numbers as strings, for JavaScript's sake; ours stay far below 2^53, and scripts want numbers.
class PlainNumber final : public capnp::JsonCodec::Handler<std::uint64_t> {
 public:
  void encode(const capnp::JsonCodec&, std::uint64_t input, capnp::JsonValue::Builder output) const override {
    output.setNumber(static_cast<double>(input));
  }
  std::uint64_t decode(const capnp::JsonCodec&, capnp::JsonValue::Reader input) const override {
    return static_cast<std::uint64_t>(input.getNumber());
  }
};

enum class JsonForm : std::uint8_t { kIndented, kOneLine };

// Ends with a newline.
template <class Reader>
std::string as_json(const Reader& reader, JsonForm form) {
  capnp::JsonCodec codec;
  PlainNumber plain_number;
  codec.addTypeHandler(plain_number);
  codec.setPrettyPrint(form == JsonForm::kIndented);
  return std::string{codec.encode(reader).cStr()} + "\n";
}

}  // namespace understudy
