// Which parts of a disk may differ from the peer's: a bitmap, coarse enough to stay small whatever the disk's size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace understudy {

// Not synchronised.
class ExtentMap {
 public:
  // The map of a larger disk is coarser: it takes at most 4 MiB (kMostGrains bits).
  static constexpr std::uint64_t kFinestGrainBytes = 4096;
  static constexpr std::uint64_t kMostGrains = std::uint64_t{1} << 25;

  struct Extent {
    std::uint64_t offset_bytes = 0;
    std::uint64_t length_bytes = 0;
    friend bool operator==(const Extent&, const Extent&) = default;
  };

  ExtentMap() = default;
  explicit ExtentMap(std::uint64_t disk_bytes);

  std::uint64_t disk_bytes() const { return disk_bytes_; }
  std::uint64_t grain_bytes() const { return grain_bytes_; }
  // Marks every grain that the range touches; it lies on the disk.
  void mark(std::uint64_t offset_bytes, std::uint64_t length_bytes);
  void mark_all() { mark(0, disk_bytes_); }
  // Adds all of `other`, of the same disk.
  void merge(const ExtentMap& other);
  void clear();
  bool empty() const;
  // What is marked, in bytes; the last grain may lie beyond the disk's end in part, which does not count.
  std::uint64_t marked_bytes() const;
  // What is marked at `from` or next after it, to the end of it or of as many grains as `most_bytes` holds (at least one).
  std::optional<Extent> next(std::uint64_t from_bytes, std::uint64_t most_bytes) const;

 private:
  bool marked(std::uint64_t grain) const { return (words_[grain / 64] >> (grain % 64) & 1) != 0; }
  std::uint64_t end_of(std::uint64_t grain) const;

  std::uint64_t disk_bytes_ = 0;
  std::uint64_t grain_bytes_ = kFinestGrainBytes;
  std::uint64_t grains_ = 0;
  std::vector<std::uint64_t> words_;
};

}  // namespace understudy
