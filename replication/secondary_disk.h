// The secondary's disk: committed epochs' writes go to its image, in order where they touch, on the image's own thread.
//
// At a takeover nothing is handed over or drained: the guest's ReplicatedDisk works on the same DiskImage, and what it asks of a block
// waits for the last committed write of it.
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
  std::size_t backlog_bytes() const override { return backlog_->bytes.load(std::memory_order_acquire); }
  std::uint64_t sync() override;
  std::uint64_t synced() const override { return syncs_->latest.load(std::memory_order_acquire); }
  std::optional<Error> failure() const override;

 private:
  struct Backlog final : DiskClient {
    void done(std::uint64_t cookie, std::uint64_t) override { bytes.fetch_sub(cookie, std::memory_order_release); }
    std::atomic<std::size_t> bytes{0};
  };

  struct Syncs final : DiskClient {
    // Two flushes may end in either order; each covers all that was applied before it.
    void done(std::uint64_t cookie, std::uint64_t) override {
      if (cookie > latest.load(std::memory_order_relaxed)) latest.store(cookie, std::memory_order_release);
    }
    std::atomic<std::uint64_t> latest{0};
  };

  const std::shared_ptr<DiskImage> image_;
  const std::shared_ptr<Backlog> backlog_;
  const std::shared_ptr<Syncs> syncs_;
  std::uint64_t last_sync_ = 0;
  const std::uint64_t owner_;
};

}  // namespace understudy
