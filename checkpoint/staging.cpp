#include "checkpoint/staging.h"

#include <mutex>
#include <string>

#include <sys/mman.h>

#include "net/base/check.h"

namespace understudy {

struct StagingPool::Core {
  std::span<std::byte> block;
  std::size_t buffers = 0;
  std::size_t buffer_bytes = 0;
  std::mutex mutex;
  std::vector<std::size_t> free;  // guarded by mutex; reserved to its full size, so that a release never allocates

  ~Core() {
    if (!block.empty()) ::munmap(block.data(), block.size());
  }
};

Result<std::unique_ptr<StagingPool>> StagingPool::create(std::size_t buffers, std::size_t pages_each) {
  if (buffers == 0 || pages_each == 0 || pages_each > (std::size_t{1} << 32) / buffers)
    return Error{ErrorCode::kInvalid, "staging pool of " + std::to_string(buffers) + " buffers of " + std::to_string(pages_each) +
                                          " pages: give 1 or more of each, 16 TiB at most"};
  auto core = std::make_shared<Core>();
  core->buffers = buffers;
  core->buffer_bytes = pages_each * kPageSizeBytes;
  const std::size_t total = buffers * core->buffer_bytes;
  // MAP_POPULATE touches the pages now; a fault inside a pause would lengthen it.
  void* const block = ::mmap(nullptr, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (block == MAP_FAILED) {
    const Error cause = Error::from_errno("map " + std::to_string(total) + " bytes for the staging pool");
    return Error{ErrorCode::kUnavailable, cause.text()};
  }
  core->block = {static_cast<std::byte*>(block), total};
  core->free.reserve(buffers);
  for (std::size_t i = buffers; i-- > 0;) core->free.push_back(i);
  return std::unique_ptr<StagingPool>{new StagingPool{std::move(core)}};
}

StagingPool::StagingPool(std::shared_ptr<Core> core) : core_{std::move(core)} {}
StagingPool::~StagingPool() = default;

StagingLease StagingPool::try_acquire() {
  std::size_t index = 0;
  {
    const std::lock_guard lock{core_->mutex};
    if (core_->free.empty()) return {};
    index = core_->free.back();
    core_->free.pop_back();
  }
  const std::span<std::byte> bytes = core_->block.subspan(index * core_->buffer_bytes, core_->buffer_bytes);
  // The deleter holds the core: frames at the transport may outlive the pool.
  return StagingLease{bytes, std::shared_ptr<const void>{bytes.data(), [core = core_, index](const void*) {
                                                           const std::lock_guard lock{core->mutex};
                                                           core->free.push_back(index);
                                                         }}};
}

std::size_t StagingPool::free_buffers() const {
  const std::lock_guard lock{core_->mutex};
  return core_->free.size();
}
std::size_t StagingPool::buffers() const { return core_->buffers; }
std::size_t StagingPool::pages_each() const { return core_->buffer_bytes / kPageSizeBytes; }

}  // namespace understudy
