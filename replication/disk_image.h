// One disk image and the one thread that touches it: every read, write and flush in the order of submission.
//
// The order is the whole design: overlaps need no bookkeeping, and after a takeover the guest's first read queues behind the last committed
// write of the secondary, so nothing has to be drained. A request that the host fails is tried again at the head of the queue, where all
// others wait: it is never completed with an error, and nothing overtakes it. A failed flush is not tried again (what the host dropped
// can't be known): the image then stays stuck, and its evidence says so.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "checkpoint/staging.h"
#include "net/base/clock.h"
#include "net/base/result.h"
#include "replication/block_file.h"

namespace understudy {

struct DiskTask {
  enum class Kind : std::uint8_t { kRead, kWrite, kZeros, kFlush };
  Kind kind = Kind::kRead;
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
  std::vector<iovec> into;     // kRead
  OwnedBytes data;             // kWrite
  std::function<void()> done;  // on the worker's thread, after success; must not block
  std::uint64_t owner = 0;     // for cancel(): which of the image's users submitted it
};

// What the probes ask. Ages are of submission, so a hang shows as well as an error.
struct DiskEvidence {
  std::size_t outstanding = 0;
  Duration oldest_age{};  // of the oldest request not completed
  std::uint64_t completed = 0;
  std::uint64_t errors = 0;
  std::string last_error;  // empty: none
  bool failing = false;    // the latest attempt failed
};

class DiskImage {
 public:
  // `clock` outlives it. `retry_every`: between attempts of a failing request.
  static std::shared_ptr<DiskImage> start(std::unique_ptr<BlockFile> file, const Clock& clock,
                                          Duration retry_every = std::chrono::milliseconds{200});
  // Drops what waits. A request stuck in the kernel is left to its thread, which outlives this object and touches nothing but the file
  // (and, for a read, its target memory: see cancel()).
  ~DiskImage();
  DiskImage(const DiskImage&) = delete;
  DiskImage& operator=(const DiskImage&) = delete;

  std::uint64_t size_bytes() const;
  bool read_only() const;

  // Any thread; never blocks. Bounds on what waits are the caller's.
  void submit(DiskTask task);
  // Drops the waiting reads and flushes of `owner`; its writes stay. Waits for its read or flush at the file, at most `deadline`: false
  // when that is still there (a read may then still write to its target). No done() of a dropped or timed-out request is called afterwards.
  bool cancel(std::uint64_t owner, Duration deadline);
  // A number of one's own for DiskTask::owner.
  std::uint64_t new_owner();
  // Called on the worker's thread at each failed attempt. Set before the first submit; must not block.
  void on_error(std::function<void(const Error&)> report);

  DiskEvidence evidence(Instant now) const;

 private:
  struct Core;
  explicit DiskImage(std::shared_ptr<Core> core);
  const std::shared_ptr<Core> core_;
};

}  // namespace understudy
