// What a process holds in memory besides its guest's, from /proc/PID/smaps (Documentation/filesystems/proc.rst). Pure.
#pragma once

#include <cstdint>
#include <string_view>

#include "net/base/result.h"

namespace understudy::bench {

// The sum of the mappings' proportional set sizes (what several processes share counts in equal parts), less memfds: guest memory, and what
// the guest was loaded from, which QEMU keeps mapped. kCorrupt: no memfd is mapped with exactly `guest_bytes`, or it is not smaps.
Result<std::uint64_t> pss_beyond_guest(std::string_view smaps, std::uint64_t guest_bytes);

}  // namespace understudy::bench
