#include "checkpoint/page_check.h"

#include <array>

#include <xxhash.h>

#include "net/base/check.h"

namespace understudy {
namespace {

std::uint64_t hash_of_zeros() {
  static const std::uint64_t hash = [] {
    constexpr std::array<std::byte, kPageSizeBytes> kZeros{};
    return XXH3_64bits(kZeros.data(), kZeros.size());
  }();
  return hash;
}

// Calls `with(i, hash)` for page `first + i`, in order.
template <class Image, class With>
void for_each_hash(const Image& image, PageIndex first, std::size_t count, With with) {
  US_CHECK(first.raw() <= image.page_count() && count <= image.page_count() - first.raw());
  for (std::size_t i = 0; i < count;) {
    const PageIndex page{first.raw() + i};
    if (const std::size_t absent = image.absent_run(page, count - i); absent > 0) {
      for (const std::size_t end = i + absent; i < end; ++i) with(i, hash_of_zeros());
    } else {
      with(i++, XXH3_64bits(image.page(page).data(), kPageSizeBytes));
    }
  }
}

}  // namespace

PageCheck check_pages(const CheckpointSource& source, PageIndex first, std::size_t count) {
  US_CHECK(count <= kMaxCheckedPages);
  PageCheck check{.first = first, .hashes = {}};
  check.hashes.reserve(count);
  for_each_hash(source, first, count, [&check](std::size_t, std::uint64_t hash) { check.hashes.push_back(hash); });
  return check;
}

std::vector<PageIndex> differing_pages(const PageCheck& check, const CheckpointTarget& target) {
  std::vector<PageIndex> differing;
  for_each_hash(target, check.first, check.hashes.size(), [&](std::size_t i, std::uint64_t hash) {
    if (hash != check.hashes[i]) differing.emplace_back(check.first.raw() + i);
  });
  return differing;
}

std::uint64_t hash_of_state(std::span<const std::byte> state) { return XXH3_64bits(state.data(), state.size()); }

}  // namespace understudy
