// A set of pages of one guest memory: a bitmap with the operations that dirty tracking and capture need.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "net/base/check.h"
#include "net/base/ids.h"

namespace understudy {

// Not synchronised; see AtomicPageSet.
class PageSet {
 public:
  PageSet() = default;
  explicit PageSet(std::size_t page_count) : page_count_{page_count}, words_((page_count + 63) / 64) {}

  std::size_t page_count() const { return page_count_; }
  bool contains(PageIndex page) const {
    US_CHECK(page.raw() < page_count_);
    return (words_[page.raw() / 64] >> (page.raw() % 64) & 1) != 0;
  }
  void insert(PageIndex page) {
    US_CHECK(page.raw() < page_count_);
    words_[page.raw() / 64] |= std::uint64_t{1} << (page.raw() % 64);
  }
  void remove(PageIndex page) {
    US_CHECK(page.raw() < page_count_);
    words_[page.raw() / 64] &= ~(std::uint64_t{1} << (page.raw() % 64));
  }
  void insert_all();
  void clear() { std::fill(words_.begin(), words_.end(), 0); }
  bool empty() const;
  std::size_t count() const;
  // Adds every page of `other`, which has the same page_count().
  void merge(const PageSet& other);

  // Calls visit(PageIndex) for each page in ascending order.
  template <class Visit>
  void for_each(Visit visit) const {
    for (std::size_t i = 0; i < words_.size(); ++i) {
      for (std::uint64_t word = words_[i]; word != 0; word &= word - 1)
        visit(PageIndex{i * 64 + static_cast<std::size_t>(std::countr_zero(word))});
    }
  }

  // Bit i of word i/64 is page i: the layout of KVM_GET_DIRTY_LOG. Bits beyond page_count() are zero.
  std::span<std::uint64_t> words() { return words_; }
  std::span<const std::uint64_t> words() const { return words_; }

 private:
  std::size_t page_count_ = 0;
  std::vector<std::uint64_t> words_;
};

// Written by any thread without a lock; drained by one.
class AtomicPageSet {
 public:
  explicit AtomicPageSet(std::size_t page_count) : page_count_{page_count}, words_((page_count + 63) / 64) {}
  std::size_t page_count() const { return page_count_; }
  bool contains(PageIndex page) const {
    US_CHECK(page.raw() < page_count_);
    return (words_[page.raw() / 64].load(std::memory_order_acquire) >> (page.raw() % 64) & 1) != 0;
  }
  void insert(PageIndex page) {
    US_CHECK(page.raw() < page_count_);
    const std::uint64_t bit = std::uint64_t{1} << (page.raw() % 64);
    auto& word = words_[page.raw() / 64];
    // Most marks repeat: a read spares the cache line's transfer.
    if ((word.load(std::memory_order_relaxed) & bit) == 0) word.fetch_or(bit, std::memory_order_release);
  }
  // `count` pages from `first` on.
  void insert(PageIndex first, std::size_t count);
  void remove(PageIndex first, std::size_t count);
  // Moves every page into `into`, leaving this empty. A concurrent insert lands in this drain or in the next.
  void drain(PageSet& into);

 private:
  std::size_t page_count_;
  std::vector<std::atomic<std::uint64_t>> words_;
};

}  // namespace understudy
