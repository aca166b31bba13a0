#include "vmm/boot/file.h"

#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>
#include <sys/stat.h>

namespace understudy {
namespace {

// A wrong path is bad input, whatever errno says.
Error invalid(const Error& error) { return Error{ErrorCode::kInvalid, error.text()}; }

}  // namespace

Result<BootFile> BootFile::open(const std::string& path) {
  // Without blocking: a FIFO would wait for its other end.
  UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (!fd) return invalid(Error::from_errno("open"));
  struct stat info {};
  if (::fstat(fd.get(), &info) < 0) return invalid(Error::from_errno("fstat"));
  if (!S_ISREG(info.st_mode)) return Error{ErrorCode::kInvalid, "is not a regular file"};
  return BootFile{std::move(fd), static_cast<std::uint64_t>(info.st_size)};
}

Result<void> BootFile::read_at(std::uint64_t offset, MutableBytes into) const {
  for (std::size_t done = 0; done < into.size();) {
    const ssize_t got = ::pread(fd_.get(), into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return invalid(Error::from_errno(fmt::format("read {} bytes at {:#x}", into.size(), offset)));
    if (got == 0) return Error{ErrorCode::kInvalid, fmt::format("is short: it ended at {:#x} while being read", offset + done)};
    done += static_cast<std::size_t>(got);
  }
  return {};
}

}  // namespace understudy
