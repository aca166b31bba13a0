// The storage probe: a canary block is written past the page cache, read back, and compared; and of each disk image a block is read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

#include "failover/probe.h"
#include "net/base/result.h"
#include "net/base/unique_fd.h"

namespace understudy {

// Exercises the file system and device below `directory`, and those of the images, which are only read. A call may hang for as long as
// these do: run it in a process of its own.
class StorageProbe {
 public:
  static constexpr std::size_t kBlockBytes = 4096;

  explicit StorageProbe(const std::filesystem::path& directory, std::vector<std::filesystem::path> images = {})
      : path_{directory / "canary"}, images_{std::move(images)} {}
  ProbeReport exercise();

 private:
  Result<void> write_and_read_back();
  Result<UniqueFd> open_canary() const;
  Result<void> read_image(const std::filesystem::path& image) const;

  const std::filesystem::path path_;
  const std::vector<std::filesystem::path> images_;
  std::uint64_t sequence_ = 0;
};

}  // namespace understudy
