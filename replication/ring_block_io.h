// A BlockIo over io_uring: many requests at the host at once, past the page cache where the file allows it.
#pragma once

#include <memory>

#include "net/base/result.h"
#include "replication/block_file.h"

namespace understudy {

// `image` stays usable when the result is an error: the kernel has no io_uring for us (too old, seccomp, sysctl io_uring_disabled).
// `try_direct`: O_DIRECT, if a read of one sector shows that the file takes it.
Result<std::unique_ptr<BlockIo>> make_ring_io(ImageFile& image, bool try_direct);

}  // namespace understudy
