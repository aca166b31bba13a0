// Reads a fuzz input piece by piece; past its end everything is zero.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace understudy {

class InputReader {
 public:
  InputReader(const std::uint8_t* data, std::size_t size) : left_{data, size} {}

  bool done() const { return left_.empty(); }
  template <class Integer>
  Integer take() {
    Integer value{};
    const std::size_t length = std::min(sizeof value, left_.size());
    if (length > 0) std::memcpy(&value, left_.data(), length);
    left_ = left_.subspan(length);
    return value;
  }
  std::uint8_t byte() { return take<std::uint8_t>(); }

 private:
  std::span<const std::uint8_t> left_;
};

// One edit of `bytes`, as the input says: one of them changes, or their number.
inline void edit_once(std::vector<std::byte>& bytes, InputReader& input) {
  const auto at = input.take<std::uint16_t>();
  if (at % 16 == 15)
    bytes.resize(at / 16 % (bytes.size() + 16));
  else if (!bytes.empty())
    bytes[at / 16 % bytes.size()] ^= static_cast<std::byte>(input.byte());
}

}  // namespace understudy
