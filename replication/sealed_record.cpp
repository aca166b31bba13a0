#include "replication/sealed_record.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>

#include <xxhash.h>

namespace understudy {

namespace {
struct Seal {
  std::uint32_t magic;
  std::uint16_t version;
  std::uint16_t zero;
  std::uint64_t payload_bytes;
  std::uint64_t checksum;
};
static_assert(sizeof(Seal) == kSealBytes && std::endian::native == std::endian::little);

constexpr std::uint32_t kMagic = 0x52445355;

std::uint64_t checksum_of(std::string_view key, std::span<const std::byte> payload) {
  return XXH3_64bits_withSeed(payload.data(), payload.size(), XXH3_64bits(key.data(), key.size()));
}
}  // namespace

std::vector<std::byte> seal_record(std::string_view key, std::span<const std::byte> payload) {
  const Seal seal{
      .magic = kMagic, .version = kRecordVersion, .zero = 0, .payload_bytes = payload.size(), .checksum = checksum_of(key, payload)};
  std::vector<std::byte> record(kSealBytes + payload.size());
  std::memcpy(record.data(), &seal, sizeof seal);
  std::ranges::copy(payload, record.begin() + kSealBytes);
  return record;
}

Result<std::span<const std::byte>> unseal_record(std::string_view key, std::span<const std::byte> record) {
  const auto corrupt = [&](const std::string& what) { return Error{ErrorCode::kCorrupt, "record \"" + std::string{key} + "\": " + what}; };
  if (record.size() < kSealBytes) return corrupt(std::to_string(record.size()) + " bytes: shorter than its header");
  Seal seal{};
  std::memcpy(&seal, record.data(), sizeof seal);
  const auto payload = record.subspan(kSealBytes);
  if (seal.magic != kMagic) return corrupt("not a record of Understudy's");
  if (seal.version != kRecordVersion)
    return Error{ErrorCode::kUnsupportedVersion, "record \"" + std::string{key} + "\" has format version " + std::to_string(seal.version) +
                                                     "; this release reads version " + std::to_string(kRecordVersion)};
  if (seal.zero != 0) return corrupt("reserved bytes are not zero");
  if (seal.payload_bytes != payload.size())
    return corrupt(std::to_string(payload.size()) + " bytes of payload; its header says " + std::to_string(seal.payload_bytes));
  if (seal.checksum != checksum_of(key, payload)) return corrupt("checksum mismatch");
  return payload;
}

}  // namespace understudy
