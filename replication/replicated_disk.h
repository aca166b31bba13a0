// The primary's disk: the guest's writes go to the image at once and, with the same bytes, into the epoch's stream.
//
// A write is copied once, at submission; from then on it is in the stream, so it is there before its completion. Zeros (of a discard, too)
// go into both as extents. The bytes that the peer has not yet acked are bounded, as are those on their way to the image: beyond that
// submit() says no, and the guest's disk waits. A host's error or hang is never completed: see disk_image.h.
//
// Threading: BlockBackend by the machine's device loop; DiskStream by the session's loop; evidence() by any thread.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "net/base/unique_fd.h"
#include "replication/disk_image.h"
#include "replication/disk_stream.h"
#include "replication/write_buffers.h"
#include "vmm/backend.h"

namespace understudy {

struct ReplicatedDiskConfig {
  std::string serial_number = "understudy";               // up to 20 bytes
  std::size_t max_unacked_bytes = std::size_t{64} << 20;  // of the stream; a single larger write passes when nothing else is un-acked
  std::size_t max_queued_requests = 256;                  // submitted and not completed
  std::size_t max_queued_bytes = std::size_t{64} << 20;   // of writes not yet on the image; a single larger one passes when there are none
};

struct ReplicatedDiskStats {
  std::uint64_t reads = 0, writes = 0, flushes = 0, zeros = 0;
  std::size_t unacked_bytes = 0;
  std::uint64_t refused_unacked = 0;  // submit() said no: the peer is behind
  std::uint64_t refused_queue = 0;    // submit() said no: the host's disk is behind
};

class ReplicatedDisk final : public BlockBackend, public DiskStream {
 public:
  // Begins without a stream. Fails when there is no eventfd to be had.
  static Result<std::unique_ptr<ReplicatedDisk>> create(std::shared_ptr<DiskImage> image, ReplicatedDiskConfig config);
  // Takes its requests back: no guest memory is touched afterwards, unless a read is stuck in the kernel.
  ~ReplicatedDisk() override;

  // BlockBackend. completion_fd() also becomes readable when a refused submit() may be tried again, with nothing to reap.
  std::uint64_t capacity_bytes() const override { return image_->size_bytes(); }
  bool read_only() const override { return image_->read_only(); }
  std::string serial_number() const override { return config_.serial_number; }
  bool submit(const BlockRequest& request) override;
  int completion_fd() const override { return ready_->get(); }
  std::size_t reap(std::span<BlockCompletion> completions) override;
  bool abandon_in_flight(std::chrono::nanoseconds deadline) override;

  // DiskStream
  void start_stream() override;
  void stop_stream() override;
  void start_map() override;
  ExtentMap take_map() override;
  std::vector<DiskWrite> take_writes() override;
  void release(std::size_t bytes) override;
  bool blocked() const override;
  void request_chunk(std::uint64_t offset_bytes, std::uint32_t length_bytes) override;
  std::optional<std::vector<DiskWrite>> poll_chunk() override;

  DiskEvidence evidence(Instant now) const { return image_->evidence(now); }
  ReplicatedDiskStats stats() const;

 private:
  class Requests;  // the guest's, shared with tasks that outlive this object
  struct Chunk;
  struct Scan;
  ReplicatedDisk(std::shared_ptr<DiskImage> image, ReplicatedDiskConfig config, std::shared_ptr<const UniqueFd> ready);

  // Under mutex_: whether there is room for so much more that the peer and the image do not have.
  bool has_room(std::size_t kept, std::size_t copied);
  void submit_write(const BlockRequest& request, std::uint64_t length);
  void submit_zeros(const BlockRequest& request);
  void end_stream();
  void take_note(std::uint64_t offset_bytes, std::uint64_t length_bytes);
  void keep(DiskWrite write);
  void read_chunk();
  void signal() const;

  const std::shared_ptr<DiskImage> image_;
  const ReplicatedDiskConfig config_;
  const std::shared_ptr<const UniqueFd> ready_;
  const std::shared_ptr<WriteBuffers> buffers_;
  const std::uint64_t owner_;           // of the guest's requests
  const std::uint64_t chunk_owner_;     // of the session's reads
  std::shared_ptr<Requests> requests_;  // device loop only
  // Session's loop only:
  std::shared_ptr<Scan> scan_;
  std::shared_ptr<Chunk> chunk_;

  mutable std::mutex mutex_;
  // Guarded by mutex_:
  bool streaming_ = false;
  bool room_wanted_ = false;
  std::size_t unacked_bytes_ = 0;
  std::vector<DiskWrite> stream_;
  bool mapping_ = false;
  ExtentMap map_;  // while mapping_, or until it is taken
  ReplicatedDiskStats stats_;
};

}  // namespace understudy
