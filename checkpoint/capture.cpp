#include "checkpoint/capture.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "checkpoint/manifest.h"
#include "net/base/check.h"
#include "net/base/log.h"

namespace understudy {

EpochCapture::~EpochCapture() {
  // The harvest gives its pages back by itself; before the guest runs on, so that nothing falls between.
  harvest_.abandon();
  if (!owns_pause_ || step_ == Step::kNew || step_ == Step::kResumed || source_.ended()) return;
  if (auto resumed = source_.resume(); !resumed)
    log(Severity::kError, "guest not resumed after an aborted epoch", {{"reason", resumed.error().text()}});
}

Result<void> EpochCapture::pause(Duration deadline) {
  US_CHECK(step_ == Step::kNew);
  paused_at_ = clock_.now();
  if (!source_.paused()) {
    if (auto paused = source_.pause(deadline); !paused) return std::move(paused.error()).within("pause the guest");
    owns_pause_ = true;
  }
  step_ = Step::kPaused;
  timings_.pause = clock_.now() - paused_at_;
  return {};
}

Result<void> EpochCapture::save() {
  US_CHECK(step_ == Step::kPaused);
  const Instant began = clock_.now();
  auto saved = source_.save();
  if (!saved) return std::move(saved.error()).within("save the machine's state");
  if (saved->size() > kMaxStateBytes)
    return Error{ErrorCode::kInvalid, "the machine's state has " + std::to_string(saved->size()) + " bytes; an epoch carries at most " +
                                          std::to_string(kMaxStateBytes)};
  const auto copy = std::make_shared<std::vector<std::byte>>(saved->begin(), saved->end());
  state_ = OwnedBytes{*copy, copy};
  step_ = Step::kSaved;
  timings_.save = clock_.now() - began;
  return {};
}

Result<void> EpochCapture::harvest() {
  US_CHECK(step_ == Step::kSaved);
  const Instant began = clock_.now();
  if (auto collected = harvest_.collect(); !collected) return std::move(collected.error()).within("harvest dirty pages");
  to_copy_.reserve(harvest_.pages().count());
  harvest_.pages().for_each([this](PageIndex page) { to_copy_.push_back(static_cast<std::uint32_t>(page.raw())); });
  step_ = Step::kHarvested;
  timings_.harvest = clock_.now() - began;
  return {};
}

bool EpochCapture::copy(StagingPool& pool) {
  US_CHECK(step_ == Step::kHarvested || step_ == Step::kCopied);
  const Instant began = clock_.now();
  while (copied_ < to_copy_.size()) {
    StagingLease lease = pool.try_acquire();
    if (!lease) break;
    StagedPages staged{.buffer = std::move(lease), .pages = {}};
    staged.pages.reserve(std::min(to_copy_.size() - copied_, staged.buffer.capacity_pages()));
    std::byte* out = staged.buffer.bytes().data();
    while (copied_ < to_copy_.size() && staged.pages.size() < staged.buffer.capacity_pages() &&
           staged.zero_pages.size() < StagedPages::kMaxZeroPages) {
      const std::uint32_t page = to_copy_[copied_];
      // What the guest gave back is neither read nor copied.
      if (const std::size_t absent = source_.absent_run(PageIndex{page}, StagedPages::kMaxZeroPages - staged.zero_pages.size());
          absent > 0) {
        for (; copied_ < to_copy_.size() && to_copy_[copied_] < page + absent; ++copied_) staged.zero_pages.push_back(to_copy_[copied_]);
        continue;
      }
      std::memcpy(out, source_.page(PageIndex{page}).data(), kPageSizeBytes);
      out += kPageSizeBytes;
      staged.pages.push_back(page);
      ++copied_;
    }
    staged_.push_back(std::move(staged));
  }
  timings_.copy += clock_.now() - began;
  if (copied_ < to_copy_.size()) return false;
  step_ = Step::kCopied;
  return true;
}

PageCheck EpochCapture::check(PageIndex first, std::size_t count) {
  US_CHECK(step_ == Step::kCopied);
  const Instant began = clock_.now();
  PageCheck check = check_pages(source_, first, count);
  timings_.check = clock_.now() - began;
  return check;
}

std::vector<StagedPages> EpochCapture::take_staged() { return std::exchange(staged_, {}); }

Result<void> EpochCapture::resume(bool stay_paused) {
  US_CHECK(step_ == Step::kCopied);
  const Instant began = clock_.now();
  if (!stay_paused) {
    if (auto resumed = source_.resume(); !resumed) return std::move(resumed.error()).within("resume the guest");
  }
  step_ = Step::kResumed;
  const Instant ended = clock_.now();
  timings_.resume = ended - began;
  timings_.stood_still = ended - paused_at_;
  return {};
}

DirtyHarvest EpochCapture::finish() {
  US_CHECK(step_ == Step::kResumed && staged_.empty());
  return std::move(harvest_);
}

}  // namespace understudy
