// From epoch to image: collects one epoch, proves it whole, and only then lets it touch the image, in one step.
//
// During a full transfer the image is no epoch anyway: page batches may then go straight to it (verify the batch, note() it here). An epoch
// that isn't whole is thrown away whole, by begin() or by destruction; nothing of it was applied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "checkpoint/manifest.h"
#include "checkpoint/page_batch.h"
#include "net/base/ids.h"
#include "net/base/result.h"
#include "vmm/checkpoint_source.h"
#include "vmm/page_set.h"

namespace understudy {

// Writes a verified batch into the image.
void write_pages(const PageBatch& batch, CheckpointTarget& target);

struct StageLimits {
  std::size_t page_count = 0;                           // of the image
  std::size_t max_disk_bytes = std::size_t{512} << 20;  // of one epoch's disk writes, as they are kept
};

// Loop-owned. Bounded by the image's size and max_disk_bytes, since a page counts once.
class EpochStage {
 public:
  explicit EpochStage(StageLimits limits);

  // Starts an epoch that builds on `base`; throws away what was staged.
  void begin(Epoch base);
  // kCorrupt: out of sequence, a page twice in one epoch, more than the limits. The stage is then only good for begin().
  Result<void> add(PageBatch batch);
  Result<void> add(DiskBatch batch);
  // Counts a batch that went straight to the image: pages may repeat.
  Result<void> note(const PageBatch& batch);
  Result<void> note(const DiskBatch& batch);

  // Compares counts and digest with what was added, then asks the target whether the machine's state fits. After this take_*() are whole.
  Result<void> verify(const Manifest& manifest, OwnedBytes state, const CheckpointTarget& target);

  // Only after verify() said yes. Writes all pages; cannot fail.
  void apply(CheckpointTarget& target);
  std::vector<DiskWrite> take_disk_writes();
  OwnedBytes take_state();

  bool empty() const { return digest_.parts() == 0; }
  Epoch base() const { return base_; }

 private:
  Result<void> check_sequence(std::uint32_t sequence) const;

  const StageLimits limits_;
  Epoch base_;
  EpochDigest digest_;
  PageSet seen_;
  std::vector<PageBatch> pages_;
  std::vector<DiskWrite> writes_;
  std::size_t kept_disk_bytes_ = 0;
  OwnedBytes state_;
  bool whole_ = false;
};

}  // namespace understudy
