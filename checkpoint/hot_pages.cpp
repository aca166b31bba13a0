#include "checkpoint/hot_pages.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <sys/mman.h>

#include "net/base/check.h"

namespace understudy {
namespace {

// Copies looked after in a turn: a page may be hot and yet never reported, as it was protected just before and is not written any more.
constexpr std::size_t kSweptATurn = 256;
constexpr Duration::rep kMostPatience = 64;

}  // namespace

HotPages::HotPages(CheckpointSource& source, std::size_t max_hot)
    : source_{source}, heat_{static_cast<Heat*>(std::calloc(source.page_count(), sizeof(Heat)))} {
  US_CHECK(max_hot < ~std::uint32_t{0});
  max_hot = std::min(max_hot, source.page_count());
  if (heat_ == nullptr || max_hot == 0) return;
  void* const block = ::mmap(nullptr, max_hot * kPageSizeBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (block == MAP_FAILED) return;
  copies_ = {static_cast<std::byte*>(block), max_hot * kPageSizeBytes};
  (void)::madvise(block, copies_.size(), MADV_HUGEPAGE);  // where the host has any
  slots_.resize(max_hot);
  free_.reserve(max_hot);
  for (std::uint32_t slot = static_cast<std::uint32_t>(max_hot); slot-- > 0;) free_.push_back(slot);
  measured(look_);
}

HotPages::~HotPages() {
  for (const Slot& slot : slots_)
    if (slot.page != kNoPage) source_.set_hot(PageIndex{slot.page}, false);
  if (!copies_.empty()) ::munmap(copies_.data(), copies_.size());
}

std::span<std::byte, kPageSizeBytes> HotPages::copy_of(std::uint32_t slot) const {
  return copies_.subspan(slot * kPageSizeBytes).first<kPageSizeBytes>();
}

void HotPages::begin_epoch(Epoch epoch, Epoch acked) {
  epoch_ = epoch;
  acked_ = acked;
  ++turn_;
  for (std::size_t i = std::min(kSweptATurn, slots_.size()); i > 0; --i) {
    sweep_ = (sweep_ + 1) % slots_.size();
    const Slot& slot = slots_[sweep_];
    if (slot.page != kNoPage && turn_ - heat_[slot.page].changed > patience_) cool(static_cast<std::uint32_t>(sweep_));
  }
}

const std::byte* HotPages::base(std::uint32_t page) const {
  if (slots_.empty() || heat_[page].slot == 0) return nullptr;
  const Slot& slot = slots_[heat_[page].slot - 1];
  return slot.sent.raw() != 0 && slot.sent <= acked_ ? copy_of(heat_[page].slot - 1).data() : nullptr;
}

void HotPages::changed(std::uint32_t page, std::span<const std::byte, kPageSizeBytes> content) {
  if (slots_.empty()) return;
  Heat& heat = heat_[page];
  const std::uint32_t before = std::exchange(heat.changed, turn_);
  if (heat.slot == 0) {
    if (before == 0 || turn_ - before > patience_ || free_.empty()) return;
    heat.slot = free_.back() + 1;
    free_.pop_back();
    slots_[heat.slot - 1].page = page;
    source_.set_hot(PageIndex{page}, true);
  }
  std::memcpy(copy_of(heat.slot - 1).data(), content.data(), kPageSizeBytes);
  slots_[heat.slot - 1].sent = epoch_;
}

void HotPages::unchanged(std::uint32_t page) {
  const Heat& heat = heat_[page];
  US_CHECK(heat.slot != 0);
  if (turn_ - heat.changed < patience_) return;
  cool(heat.slot - 1);
}

void HotPages::forget(std::uint32_t page) {
  if (!slots_.empty() && heat_[page].slot != 0) cool(heat_[page].slot - 1);
}

void HotPages::cool(std::uint32_t slot) {
  Heat& heat = heat_[slots_[slot].page];
  heat = Heat{};  // the report that is to come says nothing of a write
  source_.set_hot(PageIndex{slots_[slot].page}, false);
  slots_[slot] = Slot{};
  free_.push_back(slot);
}

void HotPages::measured(Duration look) {
  // Falls quickly and rises slowly: a thread that lost its processor in between would count as a costly look.
  if (look < look_)
    look_ -= (look_ - look) / 8;
  else
    look_ += std::min(look - look_, look_ / 4) / 8;
  look_ = std::max(look_, Duration{64});
  patience_ = static_cast<std::uint32_t>(std::clamp<Duration::rep>(source_.protection_fault() / look_, 1, kMostPatience));
}

void HotPages::forget_copies() {
  for (Slot& slot : slots_) slot.sent = Epoch{};
}

void HotPages::reset() {
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot].page == kNoPage) continue;
    cool(slot);
  }
}

}  // namespace understudy
