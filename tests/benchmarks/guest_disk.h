// The disk's work inside the guest.
#pragma once

#include "tests/benchmarks/guest_protocol.h"

namespace understudy::bench {

// Blocks until it is carried out, past the guest's page cache.
DiskAnswer carry_out(const DiskOrder& order);

}  // namespace understudy::bench
