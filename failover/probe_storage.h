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

// Exercises the file system and device below a canary's file, and those of the images, which are only read. A call may hang for as long as
// these do: run it in a process of its own.
class StorageProbe {
 public:
  static constexpr std::size_t kBlockBytes = 4096;

  // `canary`: a file of the probe's own, made when it is missing; empty: the images alone are read.
  explicit StorageProbe(std::filesystem::path canary, std::vector<std::filesystem::path> images = {})
      : path_{std::move(canary)}, images_{std::move(images)} {}
  // The report's latency is what canary and images took together. A canary that this process may not write is degraded: what is below is
  // not proven, and not shown to be sick.
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
