// A kernel whose first instructions speak on the serial port, so that what precedes them is the VMM's own time. Pure.
#pragma once

#include <cstddef>
#include <vector>

namespace understudy::bench {

inline constexpr const char* kFirstWord = "#1";  // what it says, and then it halts for ever

// An ELF file that is entered by PVH alone.
std::vector<std::byte> make_tiny_kernel();

}  // namespace understudy::bench
