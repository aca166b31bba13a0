#include "tests/benchmarks/load_view.h"

#include <algorithm>
#include <charconv>
#include <dirent.h>
#include <fcntl.h>
#include <filesystem>
#include <thread>
#include <unistd.h>
#include <x86intrin.h>

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "net/base/unique_fd.h"

namespace understudy::bench {

namespace {

constexpr std::uint64_t kPageBytes = 4096;
constexpr Duration kLookEvery = std::chrono::milliseconds{50};

// The process's memfd of exactly that size: its guest's memory.
Result<UniqueFd> guest_memory_of(pid_t pid, std::uint64_t bytes) {
  const std::string folder = fmt::format("/proc/{}/fd", pid);
  std::error_code failed;
  for (auto at = std::filesystem::directory_iterator{folder, failed}; !failed && at != std::filesystem::directory_iterator{};
       at.increment(failed)) {
    std::error_code ignored;
    if (!std::filesystem::read_symlink(at->path(), ignored).string().starts_with("/memfd:")) continue;
    UniqueFd fd{::open(at->path().c_str(), O_RDWR | O_CLOEXEC)};
    struct stat info {};
    if (fd && ::fstat(fd.get(), &info) == 0 && static_cast<std::uint64_t>(info.st_size) == bytes) return fd;
  }
  return Error{ErrorCode::kUnavailable,
               fmt::format("process {} has no memfd of {} MiB: its guest's memory is not there", pid, bytes >> 20)};
}

// Holes are passed over: reading through a mapping would fill them, and reading at all costs time.
std::optional<std::uint64_t> find_page(int fd, std::uint64_t bytes) {
  off_t at = 0;
  while (true) {
    const off_t data = ::lseek(fd, at, SEEK_DATA);
    if (data < 0) return std::nullopt;
    const off_t hole = std::min(::lseek(fd, data, SEEK_HOLE), static_cast<off_t>(bytes));
    for (off_t page = data; page < hole; page += static_cast<off_t>(kPageBytes)) {
      std::uint64_t words[2];
      if (::pread(fd, words, sizeof words, page) == sizeof words && words[0] == kLoadMagic && words[1] == kLoadMagicAgain)
        return static_cast<std::uint64_t>(page);
    }
    at = hole;
  }
}

}  // namespace

double writes_per_second(const LoadReading& from, const LoadReading& to) {
  return static_cast<double>(to.writes - from.writes) / std::chrono::duration<double>(to.at - from.at).count();
}

std::vector<double> longest_gaps_us(const LoadReading& from, const LoadReading& to, std::size_t count) {
  const double ticks_per_us = static_cast<double>(to.tsc - from.tsc) / std::chrono::duration<double, std::micro>(to.at - from.at).count();
  std::vector<double> gaps;
  for (std::uint32_t bucket = kGapBuckets; bucket-- > 0 && gaps.size() < count;) {
    const std::size_t times = std::min<std::size_t>(to.gaps[bucket] - from.gaps[bucket], count - gaps.size());
    const auto begin = static_cast<double>(gap_bucket_begins_at(bucket));
    const auto end = static_cast<double>(gap_bucket_begins_at(bucket + 1));
    gaps.insert(gaps.end(), times, (begin + end) / 2 / ticks_per_us);
  }
  std::ranges::reverse(gaps);
  return gaps;
}

Result<std::unique_ptr<LoadView>> LoadView::find(const Clock& clock, pid_t pid, std::uint64_t memory_mib, Duration deadline) {
  const Instant give_up_at = clock.now() + deadline;
  while (true) {
    if (const auto memory = guest_memory_of(pid, memory_mib << 20)) {
      if (const auto at = find_page(memory->get(), memory_mib << 20)) return open(pid, memory_mib, *at);
    } else if (::access(fmt::format("/proc/{}", pid).c_str(), F_OK) < 0) {
      return memory.error();
    }
    if (clock.now() >= give_up_at)
      return Error{ErrorCode::kTimeout,
                   fmt::format("the guest's load did not appear in its memory within {:.0f} s", to_ms(deadline) / 1000)};
    std::this_thread::sleep_for(kLookEvery);
  }
}

Result<std::unique_ptr<LoadView>> LoadView::open(pid_t pid, std::uint64_t memory_mib, std::uint64_t at_byte) {
  US_ASSIGN(const auto memory, guest_memory_of(pid, memory_mib << 20));
  void* const base = ::mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), static_cast<off_t>(at_byte));
  if (base == MAP_FAILED) return Error::from_errno("map the load's page");
  return std::unique_ptr<LoadView>{new LoadView{static_cast<LoadPage*>(base), at_byte}};
}

LoadView::~LoadView() { ::munmap(page_, kPageBytes); }

Result<void> LoadView::order(const Clock& clock, std::uint32_t pages, Duration deadline) {
  const Instant give_up_at = clock.now() + deadline;
  page_->wanted_pages.store(pages);
  while (page_->working_pages.load() != pages) {
    if (clock.now() >= give_up_at)
      return Error{ErrorCode::kTimeout, fmt::format("the guest's load did not take an order within {:.0f} s", to_ms(deadline) / 1000)};
    std::this_thread::sleep_for(std::chrono::milliseconds{5});
  }
  return {};
}

LoadReading LoadView::read(const Clock& clock) const {
  LoadReading reading{.at = clock.now(), .tsc = __rdtsc(), .writes = page_->writes.load()};
  for (std::uint32_t bucket = 0; bucket < kGapBuckets; ++bucket) reading.gaps[bucket] = page_->gaps[bucket].load();
  return reading;
}

}  // namespace understudy::bench
