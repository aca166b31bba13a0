#include "tests/guest/mp_table.h"

namespace understudy::guest {
namespace {

using Bytes = std::span<const unsigned char>;

constexpr std::size_t kPointerBytes = 16;
constexpr std::size_t kHeaderBytes = 44;

std::uint32_t load(Bytes bytes, std::size_t at, std::size_t size) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < size; ++i) value |= std::uint32_t{bytes[at + i]} << (8 * i);
  return value;
}

bool sums_to_zero(Bytes bytes) {
  unsigned sum = 0;
  for (const unsigned char byte : bytes) sum += byte;
  return (sum & 0xff) == 0;
}

// The table's bytes, or nothing.
Bytes table_at(Bytes memory, std::size_t address) {
  if (address > memory.size() || memory.size() - address < kHeaderBytes || load(memory, address, 4) != 0x504D4350) return {};  // "PCMP"
  const std::size_t length = load(memory, address + 4, 2);
  if (length < kHeaderBytes || length > memory.size() - address) return {};
  const Bytes table = memory.subspan(address, length);
  return sums_to_zero(table) ? table : Bytes{};
}

Bytes find_table(Bytes memory, std::size_t start, std::size_t length) {
  for (std::size_t at = start; at + kPointerBytes <= start + length && at + kPointerBytes <= memory.size(); at += 16) {
    if (load(memory, at, 4) != 0x5F504D5F || !sums_to_zero(memory.subspan(at, kPointerBytes))) continue;  // "_MP_"
    if (const Bytes table = table_at(memory, load(memory, at + 4, 4)); !table.empty()) return table;
  }
  return {};
}

}  // namespace

MpProcessors find_processors(Bytes memory) {
  MpProcessors out;
  if (memory.size() < 0x100000) return out;
  const std::size_t ebda = std::size_t{load(memory, 0x40e, 2)} << 4;
  Bytes table;
  if (ebda >= 0x400 && ebda < 0xa0000) table = find_table(memory, ebda, 1024);
  if (table.empty()) table = find_table(memory, 0x9fc00, 1024);
  if (table.empty()) table = find_table(memory, 0xf0000, 0x10000);
  if (table.empty()) return out;
  out.found = true;
  const std::size_t entries = load(table, 34, 2);
  std::size_t at = kHeaderBytes;
  for (std::size_t i = 0; i < entries && at < table.size(); ++i) {
    const std::size_t size = table[at] == 0 ? 20 : 8;
    if (size > table.size() - at) break;
    if (table[at] == 0 && (table[at + 3] & 1) != 0 && out.count < 8) {
      out.apic_ids[out.count] = table[at + 1];
      out.boot[out.count] = (table[at + 3] & 2) != 0;
      ++out.count;
    }
    at += size;
  }
  return out;
}

}  // namespace understudy::guest
