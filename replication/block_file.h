// A disk image's file: the four operations a disk worker needs. Tests have one that fails and hangs on command.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include <sys/uio.h>

#include "net/base/result.h"

namespace understudy {

// One thread at a time. Ranges lie inside size_bytes(). Each call may block for as long as the host's storage does.
class BlockFile {
 public:
  virtual ~BlockFile() = default;
  virtual std::uint64_t size_bytes() const = 0;
  virtual bool read_only() const = 0;
  // All bytes or an error.
  virtual Result<void> read(std::uint64_t offset_bytes, std::span<const iovec> into) = 0;
  virtual Result<void> write(std::uint64_t offset_bytes, std::span<const std::byte> bytes) = 0;
  virtual Result<void> write_zeros(std::uint64_t offset_bytes, std::uint64_t length_bytes) = 0;
  virtual Result<void> sync() = 0;  // fdatasync
};

// Opens a raw image (a regular file or a block device), a multiple of 512 bytes, and locks it against a second daemon. kUnavailable: no
// such file; kInvalid: size; kRefused: another process has it open for the same purpose.
Result<std::unique_ptr<BlockFile>> open_block_file(const std::filesystem::path& path, bool read_only);

}  // namespace understudy
