// What a run with a Linux guest brought to light beside its Redis history, and what of that speaks against the run. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "net/base/clock.h"
#include "tests/lab/http_client.h"
#include "tests/lab/kernel_log.h"

namespace understudy::lab {

struct LinuxFindings {
  std::string connection_ended;    // why the Redis client's one connection ended; empty: it lived from first to last
  std::uint64_t pages_before = 0;  // fetched whole before the fault
  std::uint64_t pages_after = 0;   // begun before the fault or after it, and whole after it
  std::vector<std::string> pages_wrong;
  std::string no_power_off;  // why the guest is not known to have powered off; empty: it did
  std::string file_system;   // what e2fsck complains about; empty: clean
  KernelLogFindings kernel_log;
};

void count_pages(LinuxFindings& findings, std::span<const PageFetch> fetches, Instant fault_at);

// A sentence each; empty: nothing speaks against the run.
std::vector<std::string> shortcomings(const LinuxFindings& findings);

}  // namespace understudy::lab
