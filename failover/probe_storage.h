// The storage probe: a canary block is written past the page cache, read back, and compared.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "failover/probe.h"
#include "net/base/result.h"
#include "net/base/unique_fd.h"

namespace understudy {

// Exercises the file system and device below `directory`. A call may hang for as long as these do: run it in a process of its own.
class StorageProbe {
 public:
  static constexpr std::size_t kBlockBytes = 4096;

  explicit StorageProbe(std::filesystem::path directory) : path_{std::move(directory) / "canary"} {}
  ProbeReport exercise();

 private:
  Result<void> write_and_read_back();
  Result<UniqueFd> open_canary() const;

  const std::filesystem::path path_;
  std::uint64_t sequence_ = 0;
};

}  // namespace understudy
