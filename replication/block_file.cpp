#include "replication/block_file.h"

#include <algorithm>
#include <array>
#include <fcntl.h>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

namespace understudy {
namespace {

std::string name_of(const char* operation, std::uint64_t offset, std::uint64_t length) {
  return std::string{operation} + " of " + std::to_string(length) + " bytes at " + std::to_string(offset);
}

class PosixBlockFile final : public BlockFile {
 public:
  explicit PosixBlockFile(ImageFile image) : image_{std::move(image)} {}

  std::uint64_t size_bytes() const override { return image_.size_bytes; }
  bool read_only() const override { return image_.read_only; }

  Result<void> read(std::uint64_t offset_bytes, std::span<const iovec> into) override {
    for (const iovec& piece : into) {
      auto* at = static_cast<char*>(piece.iov_base);
      for (std::size_t left = piece.iov_len; left > 0;) {
        const ssize_t got = ::pread(fd(), at, left, static_cast<off_t>(offset_bytes));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return Error::from_errno(name_of("read", offset_bytes, left));
        if (got == 0) return Error{ErrorCode::kFailed, name_of("read", offset_bytes, left) + ": the file ends before, it was cut short"};
        at += got;
        left -= static_cast<std::size_t>(got);
        offset_bytes += static_cast<std::uint64_t>(got);
      }
    }
    return {};
  }

  Result<void> write(std::uint64_t offset_bytes, std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const ssize_t put = ::pwrite(fd(), bytes.data(), bytes.size(), static_cast<off_t>(offset_bytes));
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return Error::from_errno(name_of("write", offset_bytes, bytes.size()));
      bytes = bytes.subspan(static_cast<std::size_t>(put));
      offset_bytes += static_cast<std::uint64_t>(put);
    }
    return {};
  }

  Result<void> write_zeros(std::uint64_t offset_bytes, std::uint64_t length_bytes, bool keep_space) override {
    for (const int mode : zero_modes(keep_space)) {
      if (::fallocate(fd(), mode, static_cast<off_t>(offset_bytes), static_cast<off_t>(length_bytes)) == 0) return {};
      if (!is_unsupported(errno)) return Error::from_errno(name_of("zeroing", offset_bytes, length_bytes));
    }
    static constexpr std::size_t kPieceBytes = std::size_t{64} << 10;
    static const std::vector<std::byte> kZeros(kPieceBytes);
    for (std::uint64_t done = 0; done < length_bytes;) {
      const std::size_t piece = static_cast<std::size_t>(std::min<std::uint64_t>(kPieceBytes, length_bytes - done));
      US_TRY(write(offset_bytes + done, std::span{kZeros}.first(piece)));
      done += piece;
    }
    return {};
  }

  Result<void> sync() override {
    if (::fdatasync(fd()) != 0) return Error::from_errno("fdatasync");
    return {};
  }

  Result<std::uint64_t> next_data(std::uint64_t offset_bytes) override { return next_data_of(fd(), offset_bytes, size_bytes()); }

 private:
  int fd() const { return image_.fd.get(); }
  const ImageFile image_;
};

Result<std::uint64_t> size_of(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return Error::from_errno("fstat");
  if (S_ISREG(status.st_mode)) return static_cast<std::uint64_t>(status.st_size);
  if (!S_ISBLK(status.st_mode)) return Error{ErrorCode::kInvalid, "it is neither a regular file nor a block device"};
  std::uint64_t size = 0;
  if (::ioctl(fd, BLKGETSIZE64, &size) != 0) return Error::from_errno("BLKGETSIZE64");
  return size;
}

}  // namespace

std::span<const int> zero_modes(bool keep_space) {
  // A hole takes no space; where there are none, zeroing in place may at least be left to the file system or the device. (Of a block
  // device's two discards fallocate() uses the one that guarantees zeros.)
  static constexpr std::array kModes{FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
  return std::span{kModes}.subspan(keep_space ? 1 : 0);
}

// EINVAL: a block device's mode wants whole blocks of its own size.
bool is_unsupported(int error) { return error == EOPNOTSUPP || error == ENOSYS || error == EINVAL; }

Result<std::uint64_t> next_data_of(int fd, std::uint64_t offset_bytes, std::uint64_t size_bytes) {
  const off_t at = ::lseek(fd, static_cast<off_t>(offset_bytes), SEEK_DATA);
  if (at >= 0) return static_cast<std::uint64_t>(at);
  if (errno == EINVAL) return offset_bytes;  // no such thing as holes here
  const std::string operation = "look for data at " + std::to_string(offset_bytes);
  if (errno != ENXIO) return Error::from_errno(operation);
  // No more data: a hole up to the end, unless the file was cut short, whose missing part must not pass for zeros.
  struct stat status {};
  if (::fstat(fd, &status) != 0) return Error::from_errno(operation);
  if (static_cast<std::uint64_t>(status.st_size) < size_bytes) return Error{ErrorCode::kFailed, operation + ": the file was cut short"};
  return size_bytes;
}

Result<ImageFile> open_image_file(const std::filesystem::path& path, bool read_only) {
  const std::string operation = "open disk image " + path.string();
  UniqueFd fd{::open(path.c_str(), (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC)};
  if (!fd) return Error::from_errno(operation);
  // Two daemons on one image would tear it apart; a reader excludes only writers.
  if (::flock(fd.get(), (read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK)
      return Error{ErrorCode::kRefused, operation + ": another process uses it; stop that one, or give this node an image of its own"};
    return Error::from_errno(operation + ": lock");
  }
  auto size = size_of(fd.get());
  if (!size) return std::move(size.error()).within(operation);
  if (*size == 0 || *size % 512 != 0)
    return Error{ErrorCode::kInvalid, operation + ": " + std::to_string(*size) + " bytes are no positive multiple of 512"};
  return ImageFile{std::move(fd), *size, read_only};
}

std::unique_ptr<BlockFile> make_block_file(ImageFile image) { return std::make_unique<PosixBlockFile>(std::move(image)); }

}  // namespace understudy
