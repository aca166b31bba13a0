// Writes to a working set of pages at a given rate: pages per second, bytes per page. Pure but for the memory it is given.
#pragma once

#include <cstdint>

namespace understudy::guest {

struct DirtierPlan {
  std::uint64_t base;  // address of the working set, zeroed
  std::uint64_t working_set_pages;
  std::uint64_t pages_per_second;
  std::uint64_t bytes_per_page;
  std::uint64_t tsc_khz;
};

class Dirtier {
 public:
  void start(const DirtierPlan& plan, std::uint64_t now_tsc);
  // Writes the pages that are due; returns the nanoseconds until the next are. What is due from more than 50 ms ago (the guest was too
  // slow, stood still, or its TSC jumped) is counted as missed, not made up for.
  std::uint64_t step(std::uint64_t now_tsc);
  std::uint64_t pages() const { return pages_; }
  std::uint64_t missed() const { return missed_; }

 private:
  void write_page();

  DirtierPlan plan_{};
  std::uint64_t last_tsc_ = 0;
  std::uint64_t credit_ = 0;  // in pages, times TSC ticks per second
  std::uint64_t pages_ = 0;
  std::uint64_t missed_ = 0;
  std::uint64_t random_ = 0x2545F4914F6CDD1DULL;
};

}  // namespace understudy::guest
