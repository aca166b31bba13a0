#include "vmm/page_set.h"

#include <algorithm>

namespace understudy {

void PageSet::insert_all() {
  std::fill(words_.begin(), words_.end(), ~std::uint64_t{0});
  if (page_count_ % 64 != 0) words_.back() = (std::uint64_t{1} << (page_count_ % 64)) - 1;
}

bool PageSet::empty() const {
  return std::all_of(words_.begin(), words_.end(), [](std::uint64_t word) { return word == 0; });
}

std::size_t PageSet::count() const {
  std::size_t total = 0;
  for (const std::uint64_t word : words_) total += static_cast<std::size_t>(std::popcount(word));
  return total;
}

void PageSet::merge(const PageSet& other) {
  US_CHECK(other.page_count_ == page_count_);
  for (std::size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i];
}

void AtomicPageSet::drain(PageSet& into) {
  US_CHECK(into.page_count() == page_count_);
  const auto words = into.words();
  for (std::size_t i = 0; i < words_.size(); ++i) {
    if (words_[i].load(std::memory_order_relaxed) != 0) words[i] |= words_[i].exchange(0, std::memory_order_acquire);
  }
}

}  // namespace understudy
