#include "failover/probe_storage.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <random>
#include <unistd.h>

namespace understudy {

namespace {

// O_DIRECT wants memory aligned to the device's blocks: open(2).
struct AlignedFree {
  void operator()(std::byte* block) const { std::free(block); }
};
std::unique_ptr<std::byte[], AlignedFree> aligned_block() {
  return std::unique_ptr<std::byte[], AlignedFree>{
      static_cast<std::byte*>(std::aligned_alloc(StorageProbe::kBlockBytes, StorageProbe::kBlockBytes))};
}

}  // namespace

ProbeReport StorageProbe::exercise() {
  ProbeReport report{.path = ProbePath::kStorage, .health = Health::kHealthy};
  const MonotonicClock clock;
  const Instant began = clock.now();
  ++sequence_;
  auto done = path_.empty() ? Result<void>{} : write_and_read_back();
  const bool forbidden = !done && done.error().code() == ErrorCode::kRefused;
  if (forbidden) {
    report.health = Health::kDegraded;
    report.text = done.error().text();
    done = {};
  }
  for (const auto& image : images_)
    if (done) done = read_image(image);
  report.latency = std::max<Duration>(clock.now() - began, Duration{1});
  if (!done) {
    report.health = Health::kFailed;
    report.text = done.error().text();
  } else if (!forbidden) {
    report.text = path_.empty() ? "images read" : "canary " + std::to_string(sequence_) + " read back right";
  }
  return report;
}

// Opened afresh each time: an image that was removed or a device that is gone shows here, though the daemon's own descriptor still works.
Result<void> StorageProbe::read_image(const std::filesystem::path& image) const {
  const std::string operation = "disk image " + image.string();
  UniqueFd file{::open(image.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT)};
  if (!file && errno == EINVAL) file = UniqueFd{::open(image.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file) return Error::from_errno(operation);
  const off_t bytes = ::lseek(file.get(), 0, SEEK_END);
  const auto block = aligned_block();
  if (bytes < 0 || !block) return Error::from_errno(operation);
  // Another block each time, so that no cache below answers for the medium; an image is at least a sector long.
  const auto blocks = static_cast<std::uint64_t>(bytes) / kBlockBytes;
  const std::uint64_t offset = blocks == 0 ? 0 : sequence_ * 7919 % blocks * kBlockBytes;
  const std::size_t length = std::min<std::size_t>(kBlockBytes, static_cast<std::size_t>(bytes));
  const ssize_t got = ::pread(file.get(), block.get(), length, static_cast<off_t>(offset));
  if (got < 0) return Error::from_errno("read " + operation + " at " + std::to_string(offset));
  if (got == 0) return Error{ErrorCode::kFailed, operation + ": it is empty"};
  return {};
}

Result<UniqueFd> StorageProbe::open_canary() const {
  constexpr int kFlags = O_RDWR | O_CREAT | O_CLOEXEC | O_DSYNC;
  UniqueFd file{::open(path_.c_str(), kFlags | O_DIRECT, 0600)};
  // Some file systems have no direct I/O; with O_DSYNC the write at least reaches what they stand on.
  if (!file && errno == EINVAL) file = UniqueFd{::open(path_.c_str(), kFlags, 0600)};
  if (!file && (errno == EACCES || errno == EPERM)) return Error{ErrorCode::kRefused, "this process may not write " + path_.string()};
  if (!file) return Error::from_errno("open " + path_.string());
  return file;
}

Result<void> StorageProbe::write_and_read_back() {
  // Opened afresh each time: a file system that was remounted read-only shows here.
  US_ASSIGN(const auto file, open_canary());
  const auto written = aligned_block();
  const auto read_back = aligned_block();
  if (!written || !read_back) return Error{ErrorCode::kFailed, "canary: out of memory"};
  std::mt19937_64 content{std::random_device{}() + sequence_};
  for (std::size_t at = 0; at < kBlockBytes; at += sizeof(std::uint64_t)) {
    const std::uint64_t word = content();
    std::memcpy(written.get() + at, &word, sizeof word);
  }
  std::memcpy(written.get(), &sequence_, sizeof sequence_);
  constexpr auto kBlock = static_cast<ssize_t>(kBlockBytes);
  if (const ssize_t count = ::pwrite(file.get(), written.get(), kBlockBytes, 0); count != kBlock)
    return count < 0 ? Error::from_errno("write canary " + path_.string()) : Error{ErrorCode::kFailed, "write canary: short"};
  if (const ssize_t count = ::pread(file.get(), read_back.get(), kBlockBytes, 0); count != kBlock)
    return count < 0 ? Error::from_errno("read canary " + path_.string()) : Error{ErrorCode::kFailed, "read canary: short"};
  if (std::memcmp(written.get(), read_back.get(), kBlockBytes) != 0)
    return Error{ErrorCode::kCorrupt, "canary " + path_.string() + " reads back other bytes than were written"};
  return {};
}

}  // namespace understudy
