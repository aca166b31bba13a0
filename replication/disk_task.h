// A request to a disk image, as its users submit it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include <sys/uio.h>

#include "checkpoint/staging.h"

namespace understudy {

// Whoever submitted a task, and wants to know of its end.
class DiskClient {
 public:
  virtual ~DiskClient() = default;
  // After success, on the image's worker. Must neither block nor call the image.
  virtual void done(std::uint64_t cookie, std::uint64_t next_data) = 0;
};

struct DiskTask {
  enum class Kind : std::uint8_t { kRead, kWrite, kZeros, kFlush, kNextData };
  Kind kind = Kind::kRead;
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;        // 0 for a flush
  std::span<const iovec> into{};         // kRead; the client's, and valid as long as it lives
  OwnedBytes data{};                     // kWrite
  bool stable = false;                   // kWrite, kZeros: done() only when it is on stable storage
  bool keep_space = false;               // kZeros: the range stays allocated
  std::shared_ptr<DiskClient> client{};  // empty: nobody waits
  std::uint64_t cookie = 0;              // the client's name for it
  std::uint64_t owner = 0;               // for cancel(): which of the image's users submitted it

  bool changes_the_image() const { return kind == Kind::kWrite || kind == Kind::kZeros; }
};

// Whether `later` must not be at the file before `earlier` is done. Ranges that touch wait for each other unless both only read; a flush
// waits for every change before it. Nothing waits for a flush: a driver that needs that order waits for it itself.
inline bool must_wait(const DiskTask& later, const DiskTask& earlier) {
  if (earlier.kind == DiskTask::Kind::kFlush) return false;
  if (later.kind == DiskTask::Kind::kFlush) return earlier.changes_the_image();
  if (!later.changes_the_image() && !earlier.changes_the_image()) return false;
  return later.offset_bytes < earlier.offset_bytes + earlier.length_bytes && earlier.offset_bytes < later.offset_bytes + later.length_bytes;
}

}  // namespace understudy
