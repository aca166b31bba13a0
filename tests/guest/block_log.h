// The block log: records of one sector each with sequence and CRC, in a ring of slots on a disk. Format, and the judge of what is found on
// one. Shared by the guest, which writes it, and the host's tests, which judge a disk image. Freestanding, pure.
//
// Sequences start at 1; sequence s lies in slot (s - 1) % slots. A record names the sequence up to which everything was flushed before the
// record was submitted: so a disk that lost flushed data contradicts itself.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace understudy::guest {

inline constexpr std::size_t kLogRecordBytes = 512;
inline constexpr std::uint32_t kLogMagic = 0x474C4255;  // "UBLG"
inline constexpr std::size_t kLogMinSlots = 64;
inline constexpr std::size_t kLogMaxSlots = 65'536;
inline constexpr std::size_t kLogMaxUnflushed = 16;  // records written and not flushed, at most

struct BlockLogRecord {
  std::uint32_t magic;
  std::uint32_t crc;  // CRC-32C of the record with this field zero
  std::uint64_t sequence;
  std::uint64_t flushed_through;
  std::uint32_t boot;  // differs between two boots of the guest
  std::uint32_t payload_words;
  std::array<std::uint64_t, 60> payload;
};
static_assert(sizeof(BlockLogRecord) == kLogRecordBytes);

namespace internal {
constexpr std::array<std::uint32_t, 256> make_crc32c_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78U : 0U);
    table[i] = crc;
  }
  return table;
}
inline constexpr auto kCrc32cTable = make_crc32c_table();
}  // namespace internal

// CRC-32C (Castagnoli), as in iSCSI; "123456789" gives 0xE3069283.
constexpr std::uint32_t crc32c(std::span<const unsigned char> bytes, std::uint32_t crc = 0) {
  crc = ~crc;
  for (const unsigned char byte : bytes) crc = (crc >> 8) ^ internal::kCrc32cTable[(crc ^ byte) & 0xff];
  return ~crc;
}

inline std::uint32_t record_crc(const BlockLogRecord& record) {
  constexpr std::array<unsigned char, sizeof record.crc> zero{};
  const auto* const bytes = reinterpret_cast<const unsigned char*>(&record);
  constexpr std::size_t after = offsetof(BlockLogRecord, crc) + sizeof record.crc;
  std::uint32_t crc = crc32c({bytes, offsetof(BlockLogRecord, crc)});
  crc = crc32c(zero, crc);
  return crc32c({bytes + after, sizeof record - after}, crc);
}

// Completes a record whose other fields are set.
inline void seal(BlockLogRecord& record) {
  record.magic = kLogMagic;
  record.crc = record_crc(record);
}

constexpr std::uint64_t slot_of(std::uint64_t sequence, std::uint64_t slots) { return (sequence - 1) % slots; }

// Whether a sector is a whole record that belongs into `slot`.
inline bool is_valid(const BlockLogRecord& record, std::uint64_t slot, std::uint64_t slots) {
  return record.magic == kLogMagic && record.sequence != 0 && slot_of(record.sequence, slots) == slot && record.crc == record_crc(record);
}

struct BlockLogSummary {
  std::uint64_t last = 0;             // highest valid sequence found
  std::uint64_t last_contiguous = 0;  // everything that the ring must still hold is there up to here
  std::uint64_t flushed_through = 0;  // highest promise found in a record
  std::uint64_t valid_records = 0;
  std::uint64_t damaged_sectors = 0;  // neither a valid record nor all zeros
  // False: a record that a later one says was flushed is not there.
  bool kept_every_flushed_record() const { return flushed_through <= last_contiguous; }
};

// Scans a log in any pieces: add() every slot's sector once, then summary(). `sequences` is the scan's memory, one word a slot,
// kLogMinSlots to kLogMaxSlots of them.
class BlockLogScan {
 public:
  explicit BlockLogScan(std::span<std::uint64_t> sequences) : sequences_{sequences} {
    for (auto& sequence : sequences_) sequence = 0;
  }

  void add(std::uint64_t slot, const BlockLogRecord& record) {
    if (!is_valid(record, slot, sequences_.size())) {
      const auto* const words = reinterpret_cast<const unsigned char*>(&record);
      for (std::size_t i = 0; i < sizeof record; ++i) {
        if (words[i] == 0) continue;
        ++summary_.damaged_sectors;
        break;
      }
      return;
    }
    sequences_[slot] = record.sequence;
    ++summary_.valid_records;
    if (record.sequence > summary_.last) summary_.last = record.sequence;
    if (record.flushed_through > summary_.flushed_through) summary_.flushed_through = record.flushed_through;
  }

  BlockLogSummary summary() const {
    BlockLogSummary out = summary_;
    const std::uint64_t slots = sequences_.size();
    // The oldest ones may be half overwritten by records in flight.
    const std::uint64_t lost = out.last + kLogMaxUnflushed;
    std::uint64_t next = lost > slots ? lost - slots + 1 : 1;
    while (next <= out.last && sequences_[slot_of(next, slots)] == next) ++next;
    out.last_contiguous = next - 1;
    return out;
  }

 private:
  std::span<std::uint64_t> sequences_;
  BlockLogSummary summary_;
};

}  // namespace understudy::guest
