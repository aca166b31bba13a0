// The pages of an epoch that is not committed yet, and the promise that they are not forgotten.
//
// KVM will not report these pages again unless they are written again: until commit, this is their only record.
#pragma once

#include <utility>

#include "net/base/result.h"
#include "vmm/checkpoint_source.h"

namespace understudy {

// Loop-owned. `source` outlives it.
class DirtyHarvest {
 public:
  explicit DirtyHarvest(CheckpointSource& source) : source_{&source}, pages_{source.page_count()} {}
  DirtyHarvest(DirtyHarvest&& other) noexcept : source_{std::exchange(other.source_, nullptr)}, pages_{std::move(other.pages_)} {}
  DirtyHarvest& operator=(DirtyHarvest&& other) noexcept;
  // Gives the pages back unless they were committed.
  ~DirtyHarvest() { abandon(); }

  // Adds what was written since the last harvest of the source.
  Result<void> collect() { return source_->harvest(pages_); }
  const PageSet& pages() const { return pages_; }

  // The other side holds these pages for good.
  void commit() { source_ = nullptr; }
  // The epoch won't be committed: the next harvest reports these pages again.
  void abandon();

 private:
  CheckpointSource* source_;
  PageSet pages_;
};

}  // namespace understudy
