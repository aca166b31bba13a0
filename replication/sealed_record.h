// A stored record's wrapping: what it is, which version wrote it, and a checksum, so that nothing damaged is ever acted upon. Pure.
//
//   offset 0  u32  magic 0x52445355, "USDR" in memory
//          4  u16  format version
//          6  u16  0
//          8  u64  payload size in bytes
//         16  u64  XXH3-64 of the payload, seeded with XXH3-64 of the key that the record is stored under
//         24       payload: a Cap'n Proto message
// All little-endian. The key is part of the checksum: a record under another's key is damage, too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "net/base/result.h"

namespace understudy {

inline constexpr std::uint16_t kRecordVersion = 1;
inline constexpr std::size_t kSealBytes = 24;

std::vector<std::byte> seal_record(std::string_view key, std::span<const std::byte> payload);

// The payload, inside `record`. kUnsupportedVersion names both versions; kCorrupt names what is wrong.
Result<std::span<const std::byte>> unseal_record(std::string_view key, std::span<const std::byte> record);

}  // namespace understudy
