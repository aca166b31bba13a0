// Which pages were written: KVM's log of the guest's writes joined with the VMM's own, which KVM does not see.
//
// Invariant: a page reported by neither is unchanged since it was last reported. So whatever is taken from a source and not handed to the
// caller goes into `given_back_`, and from there into the next harvest. A hot page's bit is read and not cleared: KVM leaves the page
// writable, and goes on reporting it.
// Threading: the machine's controlling thread; guest and devices may write meanwhile.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "net/base/result.h"
#include "vmm/checkpoint_source.h"
#include "vmm/page_set.h"

namespace understudy {

// KVM's dirty log with manual protection, by slot (slot i is layout.regions[i]). A seam for tests.
class DirtyLog {
 public:
  virtual ~DirtyLog() = default;
  virtual Result<void> start() = 0;  // from here on the log is kept; what it holds at first is undefined
  virtual Result<void> stop() = 0;
  // Copies the slot's bitmap, a bit a page, without clearing (KVM API 4.8 with KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2).
  virtual Result<void> read(std::uint32_t slot, std::span<std::uint64_t> bitmap) = 0;
  // Clears and write-protects the pages whose bits are set in `bitmap`; bit 0 is `first_page` of the slot, a multiple of 64 (KVM
  // API 4.117).
  virtual Result<void> clear(std::uint32_t slot, std::uint64_t first_page, std::uint32_t page_count,
                             std::span<const std::uint64_t> bitmap) = 0;
};

class DirtyTracker {
 public:
  // Both outlive the tracker. Each region's first page is a multiple of 64, as GuestMemory makes them.
  DirtyTracker(DirtyLog& log, MemoryLayout layout, AtomicPageSet& host_writes);

  bool started() const { return started_; }
  Result<void> start();
  Result<void> stop();
  // See CheckpointSource::harvest() and merge_back(). kRefused when not started.
  Result<void> harvest(PageSet& into);
  void merge_back(const PageSet& pages) { given_back_.merge(pages); }
  // See CheckpointSource::set_hot().
  void set_hot(PageIndex page, bool hot);
  // For a tracker that takes another's place.
  void take_hot_of(const DirtyTracker& other) { hot_ = other.hot_; }

 private:
  Result<void> harvest_slot(std::uint32_t slot, PageSet& taken);
  // Clears the bits of `words` in the slot's log.
  Result<void> clear_slot(std::uint32_t slot, std::span<const std::uint64_t> words);

  DirtyLog& log_;
  const MemoryLayout layout_;
  AtomicPageSet& host_writes_;
  bool started_ = false;
  PageSet given_back_;
  PageSet hot_;
  PageSet taken_;                      // scratch: the harvest under way
  std::vector<std::uint64_t> bitmap_;  // scratch: one slot's log
};

}  // namespace understudy
