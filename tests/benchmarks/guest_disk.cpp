#include "tests/benchmarks/guest_disk.h"

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <thread>
#include <unistd.h>
#include <vector>

namespace understudy::bench {

namespace {

constexpr const char* kDisk = "/dev/vda";
constexpr std::size_t kAlignment = 4096;

struct Shared {
  int fd;
  DiskOrder order;
  std::uint64_t disk_blocks;
  std::chrono::steady_clock::time_point until;
  std::atomic<std::uint64_t> next{0};
  std::atomic<std::uint64_t> done{0};
  std::atomic<int> error_number{0};
};

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

bool move_block(const Shared& shared, void* buffer, std::uint64_t block) {
  const std::size_t bytes = shared.order.block_bytes;
  const auto offset = static_cast<off_t>(block * bytes);
  const bool reads = shared.order.operation == DiskOperation::kRead;
  const auto moved = reads ? ::pread(shared.fd, buffer, bytes, offset) : ::pwrite(shared.fd, buffer, bytes, offset);
  if (moved >= 0 && static_cast<std::size_t>(moved) != bytes) errno = EIO;
  if (moved < 0 || static_cast<std::size_t>(moved) != bytes) return false;
  return shared.order.operation != DiskOperation::kWriteAndFlush || ::fdatasync(shared.fd) == 0;
}

void work(Shared& shared, std::uint64_t seed) {
  const std::unique_ptr<void, Free> buffer{std::aligned_alloc(kAlignment, shared.order.block_bytes)};
  if (!buffer) {
    shared.error_number = ENOMEM;
    return;
  }
  // No zeros: a host might take a shortcut with them.
  std::memset(buffer.get(), static_cast<int>(0x55 ^ (seed & 0x0F)), shared.order.block_bytes);
  std::uint64_t random = seed * 0x9E37'79B9'7F4A'7C15ULL + 1;
  do {
    // xorshift64 (Marsaglia, 2003).
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    const std::uint64_t block = (shared.order.random != 0 ? random : shared.next.fetch_add(1)) % shared.disk_blocks;
    if (!move_block(shared, buffer.get(), block)) {
      shared.error_number = errno;
      return;
    }
    ++shared.done;
  } while (std::chrono::steady_clock::now() < shared.until && shared.error_number == 0);
}

DiskAnswer refused(int error_number) { return {.blocks = 0, .error_number = error_number}; }

}  // namespace

DiskAnswer carry_out(const DiskOrder& order) {
  if (order.block_bytes == 0 || order.block_bytes % kAlignment != 0 || order.block_bytes > kMaxBlockBytes) return refused(EINVAL);
  if (order.depth == 0 || order.depth > kMaxDepth) return refused(EINVAL);
  const int fd = ::open(kDisk, (order.operation == DiskOperation::kRead ? O_RDONLY : O_RDWR) | O_DIRECT | O_CLOEXEC);
  if (fd < 0) return refused(errno);
  const auto size = ::lseek(fd, 0, SEEK_END);
  const std::uint64_t blocks = size < 0 ? 0 : static_cast<std::uint64_t>(size) / order.block_bytes;
  DiskAnswer answer = refused(ENOSPC);
  if (blocks > 0) {
    Shared shared{.fd = fd,
                  .order = order,
                  .disk_blocks = blocks,
                  .until = std::chrono::steady_clock::now() + std::chrono::milliseconds{order.run_ms}};
    std::vector<std::thread> others;
    for (std::uint64_t i = 1; i < order.depth; ++i) others.emplace_back([&shared, i] { work(shared, i + 1); });
    work(shared, 1);
    for (auto& other : others) other.join();
    answer = {.blocks = shared.done, .error_number = shared.error_number};
  }
  ::close(fd);
  return answer;
}

}  // namespace understudy::bench
