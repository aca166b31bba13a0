// What an epoch contains, and the digest that says it is all there. README.md defines the digest bit by bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/page_batch.h"
#include "net/base/ids.h"
#include "net/base/result.h"

namespace understudy {

inline constexpr std::uint16_t kManifestVersion = 1;
inline constexpr std::size_t kMaxStateBytes = std::size_t{16} << 20;
inline constexpr std::size_t kMaxEndBytes = 300;

struct Manifest {
  Term term;
  Epoch epoch;
  Epoch base;  // 0: whole by itself (it follows a full transfer)
  std::uint32_t part_count = 0;
  std::uint64_t page_count = 0;
  std::uint64_t zero_page_count = 0;
  std::uint64_t disk_write_count = 0;
  std::uint64_t disk_bytes = 0;
  std::uint32_t state_bytes = 0;
  std::uint64_t digest = 0;
  std::string ended{};  // not empty: the guest is over at this epoch's end, and how it ended; at most kMaxEndBytes printable characters
  friend bool operator==(const Manifest&, const Manifest&) = default;
};

// Counts an epoch's parts in the order of their sequence numbers and folds their checksums. Both sides run one and compare.
class EpochDigest {
 public:
  void add_pages(std::uint64_t checksum, std::size_t pages, std::size_t zero_pages);
  void add_disk_writes(std::uint64_t checksum, std::size_t writes, std::uint64_t bytes);
  std::uint32_t parts() const { return counts_.part_count; }
  std::uint64_t disk_bytes() const { return counts_.disk_bytes; }

  // The manifest of all that was added. Of `ended` what is not printable becomes '?', and the rest after kMaxEndBytes goes.
  Manifest close(Term term, Epoch epoch, Epoch base, std::span<const std::byte> state, std::string_view ended = {}) const;

 private:
  void fold(std::uint64_t kind, std::uint64_t checksum);
  std::uint64_t running_ = 0;
  Manifest counts_;
};

std::vector<std::byte> encode_manifest(const Manifest& manifest);
// kUnsupportedVersion names both versions; kCorrupt otherwise. Untrusted input.
Result<Manifest> decode_manifest(std::span<const std::byte> payload);

}  // namespace understudy
