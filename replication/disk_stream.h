// A disk as the sessions see it: on the primary a stream of writes, on the secondary a place for them. Simulations have their own.
//
// Both are called on the session's loop and never block it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "checkpoint/disk_write.h"
#include "net/base/result.h"
#include "replication/extent_map.h"

namespace understudy {

class DiskStream {
 public:
  virtual ~DiskStream() = default;
  virtual std::uint64_t capacity_bytes() const = 0;
  virtual bool read_only() const = 0;  // never written, nor transferred

  // From now on every write that the guest submits is kept for take_writes(), from submission on; what was kept before is forgotten.
  virtual void start_stream() = 0;
  // Solo: writes are not kept, and none waits for a peer; what map() noted is forgotten.
  virtual void stop_stream() = 0;
  // Solo with a peer that may come back: writes are not kept, and none waits, but where they go is noted. What was kept and not taken is
  // noted as well.
  virtual void start_map() = 0;
  // Where the guest wrote since start_map(); ends it. After start_stream(), nothing is missing: a write is kept, or it is noted here.
  virtual ExtentMap take_map() = 0;
  // The writes since the last take, in the order of submission. `disk` is left 0. While the guest is paused, that is the epoch's rest.
  virtual std::vector<DiskWrite> take_writes() = 0;
  // The peer holds `bytes` (as of kept_bytes()) more of what was taken: makes room for new writes. At most what was taken and not released
  // since start_stream().
  virtual void release(std::size_t bytes) = 0;

  // A write waits because too much is kept for the peer.
  virtual bool blocked() const = 0;

  // The first transfer: reads a piece of the image (as of some moment between this call and the chunk's arrival), after the writes
  // submitted so far. One at a time.
  virtual void request_chunk(std::uint64_t offset_bytes, std::uint32_t length_bytes) = 0;
  // What the piece holds: writes that follow each other without a gap from the offset on, zeros as extents. Where the image has a hole they
  // may go beyond the length asked for. To be sent before any write taken later. nullopt: not read yet. A host that can't read its image
  // never answers; the disk's evidence tells.
  virtual std::optional<std::vector<DiskWrite>> poll_chunk() = 0;
};

class DiskSink {
 public:
  virtual ~DiskSink() = default;
  virtual std::uint64_t capacity_bytes() const = 0;
  virtual bool read_only() const = 0;

  // Writes go to the image in the order of these calls; a later reader of the same image sees them all.
  virtual void apply(DiskWrite write) = 0;
  // Accepted and not yet on the image.
  virtual std::size_t backlog_bytes() const = 0;
  // Puts what was applied so far on stable storage, some time: synced() reaches the number returned, which rises with each call.
  virtual std::uint64_t sync() = 0;
  virtual std::uint64_t synced() const = 0;
  // The host's error that stopped it, if any: this disk holds no committed image any more.
  virtual std::optional<Error> failure() const = 0;
};

}  // namespace understudy
