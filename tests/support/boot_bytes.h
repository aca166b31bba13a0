// Reading what the boot code wrote.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>

#include <gtest/gtest.h>

namespace understudy {

// The value at this offset; a failed expectation, and zeros, where the bytes end before it does.
template <class T>
T value_at(std::span<const std::byte> bytes, std::size_t offset) {
  T value{};
  EXPECT_LE(offset + sizeof value, bytes.size());
  if (offset + sizeof value <= bytes.size()) std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// As the checksums of firmware tables count: 0 when the table is whole.
inline unsigned byte_sum(std::span<const std::byte> bytes) {
  unsigned total = 0;
  for (const std::byte b : bytes) total += std::to_integer<unsigned>(b);
  return total & 0xFF;
}

}  // namespace understudy
