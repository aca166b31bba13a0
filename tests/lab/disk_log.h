// The judge of a disk after the fault: every acknowledged change must be in the block log that the guest keeps on it (log=1).
//
// The guest writes and flushes a change's record before it replies, so an acknowledged change without a record is a lost write.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "net/base/result.h"
#include "tests/lab/history.h"

namespace understudy::lab {

struct DiskLogFindings {
  std::uint64_t checked = 0;  // acknowledged changes whose records the ring still holds
  std::uint64_t missing = 0;  // of those: not there, or damaged, or with another content
};

// Reads `slots` records from the image's start. `replies` as for judge_history.
Result<DiskLogFindings> judge_disk_log(const std::filesystem::path& image, std::uint64_t slots, std::span<const AcknowledgedReply> replies);

}  // namespace understudy::lab
