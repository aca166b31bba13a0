// Of many writes, what they leave.
#pragma once

#include <span>
#include <vector>

#include "checkpoint/disk_write.h"

namespace understudy {

// Writes that do not overlap and have the same effect as `writes` in their order: where these overlap, the latest one's bytes. Ascending by
// disk and offset; the bytes are shared, not copied.
std::vector<DiskWrite> coalesced(std::span<const DiskWrite> writes);

}  // namespace understudy
