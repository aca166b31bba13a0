// How requests reach a disk image's file: several at a time through io_uring, or one by one where the kernel forbids that. The seam at
// which tests fail, cut short and hang them.
//
// Requests that are with a BlockIo at the same time are independent of each other: their order is the caller's matter (see disk_image.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <sys/uio.h>

#include "net/base/clock.h"
#include "net/base/result.h"

namespace understudy {

struct FileRequest {
  enum class Kind : std::uint8_t {
    kRead,
    kWrite,
    kZeros,     // the range reads as zeros afterwards
    kFlush,     // what was completed before reaches stable storage
    kNextData,  // where the first byte at or after the offset lies that a hole does not cover
  };
  Kind kind = Kind::kRead;
  std::uint64_t offset_bytes = 0;  // a multiple of 512, as is the length; inside the file
  std::uint64_t length_bytes = 0;
  std::span<const iovec> into{};      // kRead: length_bytes in all. This and `from` stay valid until the completion.
  std::span<const std::byte> from{};  // kWrite: length_bytes
  bool stable = false;                // kWrite, kZeros: on stable storage before it completes
  bool keep_space = false;            // kZeros: the range stays allocated; else its space goes back to the host
};

struct FileCompletion {
  unsigned slot = 0;
  std::optional<Error> error;   // of the host: nothing is known of the range's content
  std::uint64_t next_data = 0;  // kNextData; the file's size when only a hole follows
};

// One thread at a time, wake() aside. start() and wait() may block for as long as the host's storage does.
class BlockIo {
 public:
  virtual ~BlockIo() = default;
  virtual std::uint64_t size_bytes() const = 0;
  virtual bool read_only() const = 0;
  virtual unsigned depth() const = 0;  // slots

  // Begins a request in a slot below depth() that is free. It is carried out whole or fails.
  virtual void start(unsigned slot, const FileRequest& request) = 0;
  // Appends what completed since; waits for the first if there is none, but not longer than until wake() or `timeout`. True: some request
  // got further meanwhile, though it may not be completed.
  virtual bool wait(std::optional<Duration> timeout, std::vector<FileCompletion>& completed) = 0;
  // Any thread: ends a wait(), this one or the next.
  virtual void wake() = 0;
};

// Opens a raw image (a regular file or a block device), a multiple of 512 bytes, and locks it against a second daemon. kUnavailable: no
// such file; kInvalid: size; kRefused: another process has it open for the same purpose. Through io_uring, past the page cache where the
// file allows it; what is not possible is logged, with the reason.
Result<std::unique_ptr<BlockIo>> open_block_io(const std::filesystem::path& path, bool read_only);

}  // namespace understudy
