// Hot pages: those dirty in most epochs. They stay writable (CheckpointSource::set_hot()), so that the guest pays no fault for them; for
// that, every epoch looks at them, and compares them with the copy that was sent last.
//
// The choice, per page, by two measured costs: one protection fault is worth fault / look looks that find nothing, this host's patience. A
// page that is written again within so many epochs becomes hot; one that was looked at in vain so often is protected again. So whatever a
// guest does, it pays at most about twice what the best choice would have cost it.
//
// The last sent copy of a page serves as a base (unchanged; a delta) only once its epoch is acked, and never beyond its session.
//
// Bounded: 8 bytes a page of the guest, touched as pages get dirty, and copies of at most `max_hot` pages. Loop-owned, outside of pauses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "net/base/clock.h"
#include "net/base/ids.h"
#include "vmm/checkpoint_source.h"

namespace understudy {

class HotPages {
 public:
  // `source` outlives it. `max_hot`: below 2^32; fewer when the host has no address space for their copies, 0 then.
  HotPages(CheckpointSource& source, std::size_t max_hot);
  // The pages are hot no more.
  ~HotPages();
  HotPages(const HotPages&) = delete;
  HotPages& operator=(const HotPages&) = delete;

  // The pages of `epoch` follow; what the peer has acked is a base.
  void begin_epoch(Epoch epoch, Epoch acked);
  // What was sent last of the page, if that may be built upon; nullptr otherwise. Until the next call of another function.
  const std::byte* base(std::uint32_t page) const;
  // The epoch has the page with this content, which differs from base(), if there is one. A page that becomes hot is so from the next
  // harvest on.
  void changed(std::uint32_t page, std::span<const std::byte, kPageSizeBytes> content);
  // The page was reported, and equals base().
  void unchanged(std::uint32_t page);
  // The peer does not hold what is kept of the page: it was sent as zeros unlooked at, or found to differ there.
  void forget(std::uint32_t page);

  // What one look at a page took, copy and comparison, on average in an epoch.
  void measured(Duration look);

  // No copy is a base any more: a session is over. The pages stay hot.
  void forget_copies();
  // Nothing is known, no page is hot.
  void reset();

  std::size_t hot_count() const { return slots_.size() - free_.size(); }
  std::size_t max_hot() const { return slots_.size(); }
  // Looks in vain that a fault is worth, in epochs: 1 to 64.
  std::uint32_t patience() const { return patience_; }

 private:
  struct Heat {
    std::uint32_t changed = 0;  // turn of the latest change; 0: none known
    std::uint32_t slot = 0;     // of its copy, plus 1; 0: not hot
  };
  struct Slot {
    std::uint32_t page = kNoPage;
    Epoch sent;  // whose content the copy is; 0: none
  };
  struct Free {
    void operator()(Heat* heat) const { std::free(heat); }
  };
  static constexpr std::uint32_t kNoPage = ~std::uint32_t{0};

  void cool(std::uint32_t slot);
  std::span<std::byte, kPageSizeBytes> copy_of(std::uint32_t slot) const;

  CheckpointSource& source_;
  std::unique_ptr<Heat[], Free> heat_;  // from the host's zero pages: only what is used takes memory
  std::span<std::byte> copies_;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
  std::uint32_t turn_ = 1;
  std::size_t sweep_ = 0;
  Epoch epoch_;
  Epoch acked_;
  Duration look_ = std::chrono::microseconds{1};  // until it is measured
  std::uint32_t patience_ = 1;
};

}  // namespace understudy
