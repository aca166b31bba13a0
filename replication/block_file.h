// A disk image's file: opening and locking it, and its operations one by one. Tests have one that fails and hangs on command.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include <sys/uio.h>

#include "net/base/result.h"
#include "net/base/unique_fd.h"
#include "replication/block_io.h"

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
  virtual Result<void> write_zeros(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool keep_space) = 0;
  virtual Result<void> sync() = 0;  // fdatasync
  virtual Result<std::uint64_t> next_data(std::uint64_t offset_bytes) = 0;
};

// An image that was opened, checked and locked.
struct ImageFile {
  UniqueFd fd;
  std::uint64_t size_bytes = 0;
  bool read_only = false;
};
// Errors as open_block_io().
Result<ImageFile> open_image_file(const std::filesystem::path& path, bool read_only);

std::unique_ptr<BlockFile> make_block_file(ImageFile image);
// Carries requests out one by one, in start(): depth 1.
std::unique_ptr<BlockIo> make_serial_io(std::unique_ptr<BlockFile> file);

// Where the file's next data begins (lseek(2), SEEK_DATA); `offset_bytes` itself when that can't be told.
Result<std::uint64_t> next_data_of(int fd, std::uint64_t offset_bytes, std::uint64_t size_bytes);

// How a range can be made to read as zeros by fallocate(2), best first. Whatever the file system or device can't, the next one may; after
// the last, zeros are written out.
std::span<const int> zero_modes(bool keep_space);
// Whether this errno of fallocate() says that the mode is not to be had here, rather than that the host fails.
bool is_unsupported(int error);

}  // namespace understudy
