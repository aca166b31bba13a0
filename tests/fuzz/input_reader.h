// Reads a fuzz input piece by piece; past its end everything is zero.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <span>

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

}  // namespace understudy
