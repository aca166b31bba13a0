// What the guest's kernel had to say since the lab's mark, out of the daemon's log: the guest's init writes it to its console before it
// powers off (tests/guest/linux/root/init), and the daemon logs the console line by line. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::lab {

struct KernelLogFindings {
  bool whole = false;                   // all lines that the guest announced are there
  std::uint64_t lines = 0;              // since the mark, as the guest counted them
  std::vector<std::string> complaints;  // of the level "warning" and worse, and whatever speaks of clock sources, stalls or lockups
  bool at_rest = false;                 // the guest said that its file systems are clean
};

KernelLogFindings read_kernel_log(std::string_view daemon_log);

}  // namespace understudy::lab
