#include "vmm/dirty_tracker.h"

#include <algorithm>

#include "net/base/check.h"

namespace understudy {
namespace {

// Pages cleared a call at most: KVM holds the MMU's lock meanwhile, and the guest may be running.
constexpr std::size_t kClearWords = 1024;

std::size_t words_of(const MemoryRegion& region) { return (region.page_count + 63) / 64; }

}  // namespace

DirtyTracker::DirtyTracker(DirtyLog& log, MemoryLayout layout, AtomicPageSet& host_writes)
    : log_{log},
      layout_{std::move(layout)},
      host_writes_{host_writes},
      given_back_{layout_.page_count()},
      hot_{layout_.page_count()},
      taken_{layout_.page_count()} {
  US_CHECK(host_writes_.page_count() == layout_.page_count());
  std::size_t most = 0;
  for (const auto& region : layout_.regions) {
    US_CHECK(region.first_page.raw() % 64 == 0);
    most = std::max(most, words_of(region));
  }
  bitmap_.resize(most);
}

Result<void> DirtyTracker::start() {
  if (started_) return {};
  US_TRY(log_.start());
  // The log starts with every page dirty, or with none; either way it is emptied, slice by slice, which protects every page.
  for (std::uint32_t slot = 0; slot < layout_.regions.size(); ++slot) {
    const std::span words = std::span{bitmap_}.first(words_of(layout_.regions[slot]));
    if (auto read = log_.read(slot, words); !read) return std::move(read.error()).within("start dirty tracking");
    if (auto cleared = clear_slot(slot, words); !cleared) return std::move(cleared.error()).within("start dirty tracking");
  }
  given_back_.clear();
  host_writes_.drain(taken_);
  taken_.clear();
  started_ = true;
  return {};
}

Result<void> DirtyTracker::stop() {
  if (!started_) return {};
  US_TRY(log_.stop());
  hot_.clear();
  started_ = false;
  return {};
}

void DirtyTracker::set_hot(PageIndex page, bool hot) {
  if (hot)
    hot_.insert(page);
  else
    hot_.remove(page);
}

Result<void> DirtyTracker::harvest(PageSet& into) {
  if (!started_) return Error{ErrorCode::kRefused, "harvest dirty pages: tracking is not started"};
  US_CHECK(into.page_count() == layout_.page_count());
  taken_.clear();
  for (std::uint32_t slot = 0; slot < layout_.regions.size(); ++slot) {
    if (auto done = harvest_slot(slot, taken_); !done) {
      given_back_.merge(taken_);
      return std::move(done.error()).within("harvest dirty pages of slot " + std::to_string(slot));
    }
  }
  host_writes_.drain(taken_);
  into.merge(taken_);
  into.merge(given_back_);
  given_back_.clear();
  return {};
}

Result<void> DirtyTracker::harvest_slot(std::uint32_t slot, PageSet& taken) {
  const auto& region = layout_.regions[slot];
  const std::span words = std::span{bitmap_}.first(words_of(region));
  US_TRY(log_.read(slot, words));
  // Taken before it is cleared: a clear that fails half way has already forgotten some of them.
  const auto target = taken.words().subspan(region.first_page.raw() / 64, words.size());
  const auto hot = std::as_const(hot_).words().subspan(region.first_page.raw() / 64, words.size());
  for (std::size_t i = 0; i < words.size(); ++i) {
    target[i] |= words[i];
    words[i] &= ~hot[i];
  }
  return clear_slot(slot, words);
}

Result<void> DirtyTracker::clear_slot(std::uint32_t slot, std::span<const std::uint64_t> words) {
  const std::size_t page_count = layout_.regions[slot].page_count;
  for (std::size_t begin = 0; begin < words.size(); begin += kClearWords) {
    const auto slice = words.subspan(begin, std::min(kClearWords, words.size() - begin));
    const auto is_dirty = [](std::uint64_t word) { return word != 0; };
    const auto first = std::ranges::find_if(slice, is_dirty);
    if (first == slice.end()) continue;
    const auto last = std::ranges::find_if(slice.rbegin(), slice.rend(), is_dirty).base();
    const std::size_t skipped = begin + static_cast<std::size_t>(first - slice.begin());
    const std::size_t count = static_cast<std::size_t>(last - first);
    // A multiple of 64 pages, or up to the slot's end.
    const std::size_t pages = std::min(count * 64, page_count - skipped * 64);
    US_TRY(log_.clear(slot, skipped * 64, static_cast<std::uint32_t>(pages),
                      slice.subspan(static_cast<std::size_t>(first - slice.begin()), count)));
  }
  return {};
}

}  // namespace understudy
