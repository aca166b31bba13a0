// The guest's command line. Pure. Words it does not know are somebody else's and are passed over.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace understudy::guest {

enum class Mode : std::uint8_t { kNone, kKv, kTorture, kDirtier, kBlockLog };

struct VirtioMmioPlace {
  std::uint64_t base;
  std::uint32_t gsi;
};

struct Options {
  Mode mode = Mode::kKv;             // mode=kv|torture|dirtier|blklog
  Mode background = Mode::kNone;     // background=torture|dirtier: on every vCPU but the first
  std::uint32_t ip = 0x0A4D000A;     // ip=10.77.0.10
  bool log = false;                  // log=1: kv writes each mutating request to the block log before it replies
  std::uint64_t tsc_khz = 0;         // tsc_khz=; 0: measure
  std::uint64_t duty_percent = 100;  // duty_percent=1..100: the part of the time that torture works
  std::uint64_t pages_per_second = 10'000;
  std::uint64_t bytes_per_page = 64;        // 8 to 4096, a multiple of 8
  std::uint64_t working_set_pages = 4'096;  // at least 1
  std::uint64_t records_per_second = 0;     // blklog; 0: as fast as the disk
  std::uint64_t burst = 8;                  // blklog: records written per flush, 1 to 16
  std::uint64_t log_start_sector = 0;
  std::uint64_t log_sectors = 8'192;         // 64 to 65536; the disk's size bounds it
  std::array<VirtioMmioPlace, 8> devices{};  // virtio_mmio.device=4K@0xd0000000:5
  std::uint32_t device_count = 0;
  std::string_view bad;  // the first word with a value that cannot be; empty: all is well
};

Options parse_options(std::string_view command_line);

}  // namespace understudy::guest
