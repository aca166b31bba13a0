// The primary's disk: the guest's writes go to the image at once and, with the same bytes, into the epoch's stream.
//
// A write is copied once, at submission; from then on it is in the stream, so it is there before its completion. The bytes that the peer
// has not yet acked are bounded: beyond that submit() says no, and the guest's disk waits for the peer. A host's error or hang is never
// completed: see disk_image.h.
//
// Threading: BlockBackend by the machine's device loop; DiskStream by the session's loop; evidence() by any thread.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "net/base/unique_fd.h"
#include "replication/disk_image.h"
#include "replication/disk_stream.h"
#include "vmm/backend.h"

namespace understudy {

struct ReplicatedDiskConfig {
  std::string serial_number = "understudy";               // up to 20 bytes
  std::size_t max_unacked_bytes = std::size_t{64} << 20;  // of the stream; a single larger write passes when nothing else is un-acked
  std::size_t max_queued_requests = 256;                  // submitted and not completed
};

struct ReplicatedDiskStats {
  std::uint64_t reads = 0, writes = 0, flushes = 0;
  std::size_t unacked_bytes = 0;
  std::uint64_t refused_unacked = 0;  // submit() said no: the peer is behind
  std::uint64_t refused_queue = 0;    // submit() said no: the host's disk is behind
};

class ReplicatedDisk final : public BlockBackend, public DiskStream {
 public:
  // Begins without a stream. kUnavailable: no eventfd.
  static Result<std::unique_ptr<ReplicatedDisk>> create(std::shared_ptr<DiskImage> image, ReplicatedDiskConfig config);
  // Takes its requests back: no guest memory is touched afterwards, unless a read is stuck in the kernel.
  ~ReplicatedDisk() override;

  // BlockBackend. completion_fd() also becomes readable when a refused submit() may be tried again, with nothing to reap.
  std::uint64_t capacity_bytes() const override { return image_->size_bytes(); }
  bool read_only() const override { return image_->read_only(); }
  std::string serial_number() const override { return config_.serial_number; }
  bool submit(const BlockRequest& request) override;
  int completion_fd() const override;
  std::size_t reap(std::span<BlockCompletion> completions) override;
  bool abandon_in_flight(std::chrono::nanoseconds deadline) override;

  // DiskStream
  void start_stream() override;
  void stop_stream() override;
  std::vector<DiskWrite> take_writes() override;
  void release(std::size_t bytes) override;
  bool blocked() const override;
  void request_chunk(std::uint64_t offset_bytes, std::uint32_t length_bytes) override;
  std::optional<DiskWrite> poll_chunk() override;

  DiskEvidence evidence(Instant now) const { return image_->evidence(now); }
  ReplicatedDiskStats stats() const;

 private:
  void keep(std::uint64_t offset_bytes, const OwnedBytes& data);  // under mutex_
  struct Completions;                                             // shared with requests that outlive this object
  struct Chunk;
  ReplicatedDisk(std::shared_ptr<DiskImage> image, ReplicatedDiskConfig config, std::shared_ptr<Completions> completions);

  const std::shared_ptr<DiskImage> image_;
  const ReplicatedDiskConfig config_;
  const std::uint64_t owner_;        // of the guest's requests
  const std::uint64_t chunk_owner_;  // of the session's reads
  std::shared_ptr<Completions> completions_;
  std::shared_ptr<Chunk> chunk_;  // session's loop only

  mutable std::mutex mutex_;
  // Guarded by mutex_:
  bool streaming_ = false;
  bool room_wanted_ = false;
  std::size_t unacked_bytes_ = 0;
  std::vector<DiskWrite> stream_;
  ReplicatedDiskStats stats_;
};

}  // namespace understudy
