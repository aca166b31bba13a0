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

namespace {

// Calls change(word's index, mask) for every word that has bits of the range.
template <class Change>
void for_each_word(PageIndex first, std::size_t count, Change change) {
  for (std::size_t page = first.raw(), end = page + count; page < end;) {
    const std::size_t from = page % 64;
    const std::size_t bits = std::min(end - page, 64 - from);
    change(page / 64, (bits == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1) << from);
    page += bits;
  }
}

}  // namespace

void AtomicPageSet::insert(PageIndex first, std::size_t count) {
  US_CHECK(first.raw() <= page_count_ && count <= page_count_ - first.raw());
  for_each_word(first, count, [this](std::size_t i, std::uint64_t mask) { words_[i].fetch_or(mask, std::memory_order_release); });
}

void AtomicPageSet::remove(PageIndex first, std::size_t count) {
  US_CHECK(first.raw() <= page_count_ && count <= page_count_ - first.raw());
  for_each_word(first, count, [this](std::size_t i, std::uint64_t mask) { words_[i].fetch_and(~mask, std::memory_order_release); });
}

void AtomicPageSet::drain(PageSet& into) {
  US_CHECK(into.page_count() == page_count_);
  const auto words = into.words();
  for (std::size_t i = 0; i < words_.size(); ++i) {
    if (words_[i].load(std::memory_order_relaxed) != 0) words[i] |= words_[i].exchange(0, std::memory_order_acquire);
  }
}

}  // namespace understudy
