#include "vmm/boot/aml.h"

#include <algorithm>
#include <span>

#include "net/base/check.h"

namespace understudy::aml {
namespace {

enum Opcode : std::uint8_t {
  kZero = 0x00,
  kOne = 0x01,
  kName = 0x08,
  kByte = 0x0A,
  kWord = 0x0B,
  kDword = 0x0C,
  kString = 0x0D,
  kQword = 0x0E,
  kScope = 0x10,
  kBuffer = 0x11,
  kPackage = 0x12,
  kRootPrefix = 0x5C,
  kExtended = 0x5B,
  kDevice = 0x82,  // after kExtended
};

template <class... Values>
Bytes bytes(Values... values) {
  return {static_cast<std::byte>(values)...};
}

Bytes little_endian(std::uint64_t value, std::size_t count) {
  Bytes out;
  for (std::size_t i = 0; i < count; ++i) out.push_back(static_cast<std::byte>(value >> 8 * i & 0xFF));
  return out;
}

// PkgLength (20.2.4) before its content; it counts itself.
Bytes with_length(const Bytes& content) {
  constexpr std::size_t kMax[] = {0x3F, 0xFFF, 0xF'FFFF, 0xFFF'FFFF};
  std::size_t follow = 0;  // how many bytes follow the first
  while (follow < 3 && content.size() + 1 + follow > kMax[follow]) ++follow;
  const std::size_t length = content.size() + 1 + follow;
  US_CHECK(length <= kMax[follow]);
  if (follow == 0) return join({bytes(length), content});
  return join({bytes(follow << 6 | (length & 0xF)), little_endian(length >> 4, follow), content});
}

Bytes segment(std::string_view name) {
  const auto lead = [](char c) { return (c >= 'A' && c <= 'Z') || c == '_'; };
  US_CHECK(!name.empty() && name.size() <= 4 && lead(name[0]));
  US_CHECK(std::ranges::all_of(name, [&](char c) { return lead(c) || (c >= '0' && c <= '9'); }));
  Bytes out;
  for (std::size_t i = 0; i < 4; ++i) out.push_back(static_cast<std::byte>(i < name.size() ? name[i] : '_'));
  return out;
}

}  // namespace

Bytes join(std::initializer_list<Bytes> terms) {
  Bytes out;
  for (const auto& term : terms) out.insert(out.end(), term.begin(), term.end());
  return out;
}

Bytes integer(std::uint64_t value) {
  if (value <= 1) return bytes(value == 0 ? kZero : kOne);
  if (value <= 0xFF) return join({bytes(kByte), little_endian(value, 1)});
  if (value <= 0xFFFF) return join({bytes(kWord), little_endian(value, 2)});
  if (value <= 0xFFFF'FFFF) return join({bytes(kDword), little_endian(value, 4)});
  return join({bytes(kQword), little_endian(value, 8)});
}

Bytes string(std::string_view ascii) {
  US_CHECK(std::ranges::all_of(ascii, [](char c) { return c > 0; }));
  const auto content = std::as_bytes(std::span{ascii});
  return join({bytes(kString), {content.begin(), content.end()}, bytes(0)});
}

Bytes package(std::initializer_list<Bytes> elements) {
  US_CHECK(elements.size() <= 0xFF);
  return join({bytes(kPackage), with_length(join({bytes(elements.size()), join(elements)}))});
}

Bytes name(std::string_view name, const Bytes& value, bool root) {
  return join({bytes(kName), root ? bytes(kRootPrefix) : Bytes{}, segment(name), value});
}

Bytes device(std::string_view name, const Bytes& terms) {
  return join({bytes(kExtended, kDevice), with_length(join({segment(name), terms}))});
}

Bytes root_scope(std::string_view name, const Bytes& terms) {
  return join({bytes(kScope), with_length(join({bytes(kRootPrefix), segment(name), terms}))});
}

Bytes io_ports(std::uint16_t start, std::uint8_t count) {
  // 6.4.2.5: small item 8, 7 bytes; decodes 16 bits; lowest and highest start, alignment, count.
  return join({bytes(0x47, 0x01), little_endian(start, 2), little_endian(start, 2), bytes(1, count)});
}

Bytes memory32_fixed(std::uint32_t start, std::uint32_t length) {
  // 6.4.3.4: large item 6, 9 bytes; writeable.
  return join({bytes(0x86), little_endian(9, 2), bytes(0x01), little_endian(start, 4), little_endian(length, 4)});
}

Bytes edge_interrupt(std::uint32_t gsi) {
  // 6.4.3.6: large item 9, 6 bytes; consumer (bit 0), edge (bit 1), active high and exclusive (bits 2 and 3 clear); one interrupt.
  return join({bytes(0x89), little_endian(6, 2), bytes(0x03, 1), little_endian(gsi, 4)});
}

Bytes resource_template(const Bytes& descriptors) {
  // 6.4.2.9: the end tag, whose checksum 0 counts as right.
  const Bytes content = join({descriptors, bytes(0x79, 0)});
  return join({bytes(kBuffer), with_length(join({integer(content.size()), content}))});
}

}  // namespace understudy::aml
