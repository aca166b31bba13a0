// From guest to staging, in the order that a checkpoint lives by: pause, save, harvest, copy, resume; each a step of its own, and timed.
//
//  - Save before harvest: saving makes KVM write guest memory.
//  - Harvest before copy: harvesting write-protects a page, so a write after the copy is seen by the next epoch.
//  - Copy while paused, encode later, and from the staging buffers alone.
//
// A dirty set larger than the free staging buffers is copied in chunks: copy() says "not all", the guest stays paused, the caller ships
// what is staged, and calls copy() again once buffers came back. So memory stays bounded whatever the guest dirties; the price is its
// pause.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "checkpoint/dirty_harvest.h"
#include "checkpoint/page_check.h"
#include "checkpoint/staging.h"
#include "net/base/clock.h"
#include "net/base/result.h"
#include "vmm/checkpoint_source.h"

namespace understudy {

// How long each step of a pause took, and the whole of it: from the kick to the guest's resume.
struct EpochTimings {
  Duration pause{};
  Duration save{};
  Duration harvest{};
  Duration copy{};
  Duration check{};
  Duration resume{};
  Duration stood_still{};
};

// Loop-owned; `source` and `clock` outlive it. Destroyed before finish(): pages are given back, and the guest resumed if it was paused
// here.
class EpochCapture {
 public:
  // `clock` is read for the timings only.
  EpochCapture(CheckpointSource& source, const Clock& clock) : source_{source}, clock_{clock}, harvest_{source} {}
  ~EpochCapture();
  EpochCapture(const EpochCapture&) = delete;
  EpochCapture& operator=(const EpochCapture&) = delete;

  // The steps, in this order; a step out of order is our bug. After an error the capture is only good for destruction. pause() on a source
  // that stands already (a final epoch that follows a failed one) goes on with that.
  Result<void> pause(Duration deadline);
  Result<void> save();
  Result<void> harvest();
  // Copies pages into leases of `pool` as far as they last; true once every page of the harvest was handed out by take_staged().
  bool copy(StagingPool& pool);
  // Hashes pages of guest memory as they are at this epoch's end (page_check.h). Only when copy() said true, before the resume.
  PageCheck check(PageIndex first, std::size_t count);
  // What copy() staged since the last call.
  std::vector<StagedPages> take_staged();
  // `stay_paused`: for the last epoch before a switchover. Only when copy() said true.
  Result<void> resume(bool stay_paused = false);

  // The machine's state, copied; after save().
  const OwnedBytes& state() const { return state_; }
  Instant paused_at() const { return paused_at_; }
  const EpochTimings& timings() const { return timings_; }
  // Hands the pages' record over to who waits for the ack; after resume().
  DirtyHarvest finish();

 private:
  enum class Step { kNew, kPaused, kSaved, kHarvested, kCopied, kResumed };

  CheckpointSource& source_;
  const Clock& clock_;
  Step step_ = Step::kNew;
  bool owns_pause_ = false;
  DirtyHarvest harvest_;
  OwnedBytes state_;
  std::vector<std::uint32_t> to_copy_;  // ascending; copied_ of them are in staging
  std::size_t copied_ = 0;
  std::vector<StagedPages> staged_;
  EpochTimings timings_;
  Instant paused_at_{};
};

}  // namespace understudy
