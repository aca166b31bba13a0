// One disk image and the one thread that touches it.
//
// Requests that touch the same blocks take effect in the order of submission, a flush after every change before it; all others go to the
// host at once, as many as it takes (disk_window.h). So after a takeover the guest's first read of a block waits for the last committed
// write of it, and nothing has to be drained. A request that the host fails is tried again in its place: it is never completed with an
// error, and nothing that it stands in the way of overtakes it. A failed flush is not tried again (what the host dropped can't be known):
// nothing goes to the image any more, and its evidence says so.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "net/base/clock.h"
#include "net/base/result.h"
#include "replication/block_file.h"
#include "replication/disk_task.h"

namespace understudy {

// What the probes ask. Ages are of submission, so a hang shows as well as an error.
struct DiskEvidence {
  std::size_t outstanding = 0;
  Duration oldest_age{};       // of the oldest request not completed
  Duration since_progress{};   // since the host last got any further, or there was something to do again; zero when nothing is outstanding
  Duration longest_at_host{};  // of those that the host has at the moment
  std::uint64_t completed = 0;
  std::uint64_t completed_bytes = 0;  // that these read or changed
  Duration time_at_host{};            // of these, added up
  std::uint64_t errors = 0;
  std::string last_error{};  // empty: none
  bool failing = false;      // the latest attempt of some request failed
};

class DiskImage {
 public:
  // `clock` outlives it. `retry_every`: between attempts of a failing request.
  static std::shared_ptr<DiskImage> start(std::unique_ptr<BlockIo> io, const Clock& clock,
                                          Duration retry_every = std::chrono::milliseconds{200});
  // Its requests one by one.
  static std::shared_ptr<DiskImage> start(std::unique_ptr<BlockFile> file, const Clock& clock,
                                          Duration retry_every = std::chrono::milliseconds{200});
  // Drops what waits. A request stuck in the kernel is left to the worker, which outlives this object and touches nothing but the file
  // (and, for a read, its target memory: see cancel()).
  ~DiskImage();
  DiskImage(const DiskImage&) = delete;
  DiskImage& operator=(const DiskImage&) = delete;

  std::uint64_t size_bytes() const;
  bool read_only() const;

  // Any thread; never blocks. Bounds on what waits are the caller's.
  void submit(DiskTask task);
  // Drops the waiting reads and flushes of `owner`; its writes stay. Waits for its reads and flushes at the file, at most `deadline`:
  // false when one is still there (a read may then still write to its target). No done() of `owner`'s is called afterwards.
  bool cancel(std::uint64_t owner, Duration deadline);
  // A number of one's own for DiskTask::owner.
  std::uint64_t new_owner();
  // Called on the worker's thread when the image begins to fail: an attempt failed where all was well before. Set before the first submit;
  // must not block.
  void on_error(std::function<void(const Error&)> report);

  DiskEvidence evidence(Instant now) const;

 private:
  struct Core;
  explicit DiskImage(std::shared_ptr<Core> core);
  const std::shared_ptr<Core> core_;
};

}  // namespace understudy
