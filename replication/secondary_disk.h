// The secondary's disk: committed epochs' writes go to its image, in order, on the image's own thread.
//
// At a takeover nothing is handed over or drained: the guest's ReplicatedDisk works on the same DiskImage, and its requests queue behind
// the last committed write.
#pragma once

#include <atomic>
#include <memory>

#include "replication/disk_image.h"
#include "replication/disk_stream.h"

namespace understudy {

// Session's loop. A write that fails is tried again in its place; meanwhile failure() names the error, and the session acks nothing.
class SecondaryDisk final : public DiskSink {
 public:
  explicit SecondaryDisk(std::shared_ptr<DiskImage> image);

  std::uint64_t capacity_bytes() const override { return image_->size_bytes(); }
  bool read_only() const override { return image_->read_only(); }
  void apply(DiskWrite write) override;
  std::size_t backlog_bytes() const override { return backlog_->load(std::memory_order_acquire); }
  std::optional<Error> failure() const override;

 private:
  const std::shared_ptr<DiskImage> image_;
  const std::shared_ptr<std::atomic<std::size_t>> backlog_;
  const std::uint64_t owner_;
};

}  // namespace understudy
