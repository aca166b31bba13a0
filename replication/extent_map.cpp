#include "replication/extent_map.h"

#include <algorithm>
#include <bit>

#include "net/base/check.h"

namespace understudy {

ExtentMap::ExtentMap(std::uint64_t disk_bytes) : disk_bytes_{disk_bytes} {
  while (disk_bytes > kMostGrains * grain_bytes_) grain_bytes_ *= 2;
  grains_ = (disk_bytes + grain_bytes_ - 1) / grain_bytes_;
  words_.resize((grains_ + 63) / 64);
}

void ExtentMap::mark(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  US_CHECK(offset_bytes <= disk_bytes_ && length_bytes <= disk_bytes_ - offset_bytes);
  if (length_bytes == 0) return;
  const std::uint64_t last = (offset_bytes + length_bytes - 1) / grain_bytes_;
  for (std::uint64_t grain = offset_bytes / grain_bytes_; grain <= last;) {
    if (grain % 64 == 0 && last - grain >= 63) {
      words_[grain / 64] = ~std::uint64_t{0};
      grain += 64;
    } else {
      words_[grain / 64] |= std::uint64_t{1} << (grain % 64);
      ++grain;
    }
  }
}

void ExtentMap::merge(const ExtentMap& other) {
  US_CHECK(other.disk_bytes_ == disk_bytes_);
  std::ranges::transform(words_, other.words_, words_.begin(), std::bit_or{});
}

void ExtentMap::clear() { std::ranges::fill(words_, 0); }

bool ExtentMap::empty() const {
  return std::ranges::all_of(words_, [](std::uint64_t word) { return word == 0; });
}

std::uint64_t ExtentMap::end_of(std::uint64_t grain) const { return std::min((grain + 1) * grain_bytes_, disk_bytes_); }

std::uint64_t ExtentMap::marked_bytes() const {
  std::uint64_t grains = 0;
  for (const std::uint64_t word : words_) grains += static_cast<std::uint64_t>(std::popcount(word));
  if (grains == 0) return 0;
  const std::uint64_t beyond = marked(grains_ - 1) ? grains_ * grain_bytes_ - disk_bytes_ : 0;
  return grains * grain_bytes_ - beyond;
}

std::optional<ExtentMap::Extent> ExtentMap::next(std::uint64_t from_bytes, std::uint64_t most_bytes) const {
  if (from_bytes >= disk_bytes_) return std::nullopt;
  std::uint64_t grain = from_bytes / grain_bytes_;
  while (grain < grains_ && !marked(grain)) {
    if (const std::uint64_t rest = words_[grain / 64] >> (grain % 64); rest != 0)
      grain += static_cast<std::uint64_t>(std::countr_zero(rest));
    else
      grain = (grain / 64 + 1) * 64;
  }
  if (grain >= grains_) return std::nullopt;
  const std::uint64_t first = grain;
  const std::uint64_t most = std::max<std::uint64_t>(most_bytes / grain_bytes_, 1);
  while (grain + 1 < grains_ && grain + 1 - first < most && marked(grain + 1)) ++grain;
  const std::uint64_t offset = std::max(first * grain_bytes_, from_bytes);
  return Extent{.offset_bytes = offset, .length_bytes = end_of(grain) - offset};
}

}  // namespace understudy
