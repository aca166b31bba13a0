// A folder shown at another place through FUSE, with whatever ails its storage between: the lab's storage "driver" that fails on command.
#pragma once

#include <filesystem>
#include <functional>

#include "net/base/result.h"
#include "tests/lab/storage_state.h"

namespace understudy::lab {

// Mounts `folder` at `mount_point`, both of which exist, calls `mounted` (whose error ends it), and serves until it is unmounted. Nothing
// is cached beyond what the kernel does by itself, so direct I/O and io_uring reach the folder's files, and `storage` acts on each
// operation. Needs root.
Result<void> serve_folder(const std::filesystem::path& folder, const std::filesystem::path& mount_point, AilingStorage& storage,
                          const std::function<Result<void>()>& mounted);

}  // namespace understudy::lab
