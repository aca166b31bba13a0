// A file that boot() reads: its errors are bad input, whatever errno says.
#pragma once

#include <cstdint>
#include <string>

#include "net/base/result.h"
#include "net/base/unique_fd.h"
#include "vmm/backend.h"

namespace understudy {

class BootFile {
 public:
  // kInvalid: not there, not readable, not a regular file. Errors leave it to the caller to name the file.
  static Result<BootFile> open(const std::string& path);
  std::uint64_t bytes() const { return bytes_; }

  // All of `into`, from `offset` on; kInvalid when the file is shorter by now or cannot be read. Blocks.
  Result<void> read_at(std::uint64_t offset, MutableBytes into) const;

 private:
  BootFile(UniqueFd fd, std::uint64_t bytes) : fd_{std::move(fd)}, bytes_{bytes} {}
  UniqueFd fd_;
  std::uint64_t bytes_;
};

}  // namespace understudy
