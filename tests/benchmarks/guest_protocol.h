// What the measuring program and the guest's init say to each other. Both are ours and run on x86-64: structs travel as they are.
#pragma once

#include <cstdint>

namespace understudy::bench {

// TCP, and UDP on the echo's.
inline constexpr std::uint16_t kEchoPort = 7;     // sends back what it gets
inline constexpr std::uint16_t kSinkPort = 9;     // takes bytes until the sender shuts down; answers with how many, a std::uint64_t
inline constexpr std::uint16_t kSourcePort = 19;  // sends bytes until the receiver closes
inline constexpr std::uint16_t kDiskPort = 20;    // takes a DiskOrder, carries it out, answers with a DiskAnswer; again and again

// On the console, a line each.
inline constexpr const char* kInitLine = "bench: init";    // the first thing that init does
inline constexpr const char* kReadyLine = "bench: ready";  // every port listens
inline constexpr const char* kFailedLine = "bench: failed: ";

enum class DiskOperation : std::uint32_t {
  kRead,
  kWrite,
  kWriteAndFlush,  // a flush after every write
};

struct DiskOrder {
  DiskOperation operation = DiskOperation::kRead;
  std::uint32_t random = 0;       // 1: blocks at random places, else one after the other
  std::uint32_t block_bytes = 0;  // a multiple of 4096, up to kMaxBlockBytes
  std::uint32_t depth = 0;        // so many at once, 1 to kMaxDepth
  std::uint32_t run_ms = 0;       // no block is begun after so long; each of the `depth` does at least one
};
inline constexpr std::uint32_t kMaxBlockBytes = 1U << 20;
inline constexpr std::uint32_t kMaxDepth = 32;

struct DiskAnswer {
  std::uint64_t blocks = 0;
  std::int32_t error_number = 0;  // 0: every block was done
  std::uint32_t unused = 0;
};

}  // namespace understudy::bench
