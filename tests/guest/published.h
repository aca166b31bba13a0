// What the guest shows to tests: one page at a fixed guest-physical address, read from outside through guest memory. Freestanding.
//
// Counters only rise. The host may read them while the guest runs; each is one aligned word.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tests/guest/asm_layout.h"

namespace understudy::guest {

inline constexpr std::uint64_t kPublishedAddress = GUEST_PUBLISHED;
inline constexpr std::uint64_t kPublishedMagic = 0x3148534C42555055ULL;  // "UPUBLSH1"
inline constexpr std::uint32_t kMaxCpus = GUEST_MAX_CPUS;
// The guest writes one byte (the GuestState) here when it stops for good; a machine without such a port ignores it.
inline constexpr std::uint16_t kStopPort = 0xf4;

enum class GuestState : std::uint32_t {
  kBooting = 0,
  kRunning = 1,
  kViolation = 2,  // a check of the guest's own failed: memory, registers, disk or a reply were not what they must be
  kFault = 3,      // an exception nobody expected
  kRefused = 4,    // the command line or the machine is not what the guest can run with
};

struct PublishedCpu {
  std::uint64_t online;          // 1 once it runs in ring 3
  std::uint64_t torture_passes;  // passes completed
  std::uint64_t torture_checks;  // whole-chain checks completed
  std::uint64_t reserved[5];
};
static_assert(sizeof(PublishedCpu) == 64);

struct Published {
  std::uint64_t magic;  // set last: the rest of the fixed values stand
  std::uint32_t state;  // GuestState
  std::uint32_t cpu_count;
  std::uint64_t tsc_khz;
  std::uint64_t loop_turns;  // of vCPU 0's service loop

  std::uint64_t torture_base;  // 0: no torture runs; see torture_layout.h
  std::uint32_t torture_first_cpu;
  std::uint32_t torture_cpu_count;  // vCPUs torture_first_cpu and up

  std::uint64_t dirtier_base;
  std::uint64_t dirtier_working_set_pages;
  std::uint64_t dirtier_pages;   // page visits so far
  std::uint64_t dirtier_missed;  // page visits given up because the guest was too slow or stood still

  std::uint64_t log_scanned_last;  // last valid sequence found on start
  std::uint64_t log_flushed;       // every record up to here was flushed
  std::uint64_t log_read_back;     // records read back and found whole

  std::uint64_t kv_sequence;  // requests executed
  std::uint64_t kv_checksum;
  std::uint64_t frames_received;
  std::uint64_t frames_sent;
  std::uint64_t reserved[15];

  PublishedCpu cpus[kMaxCpus];
};
static_assert(offsetof(Published, cpus) == 256);
static_assert(sizeof(Published) <= 4096);

}  // namespace understudy::guest
