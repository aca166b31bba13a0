#include "replication/replicated_disk.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <sys/eventfd.h>

#include "net/base/check.h"

namespace understudy {

struct ReplicatedDisk::Completions {
  explicit Completions(UniqueFd fd) : ready{std::move(fd)} {}
  void add(BlockCookie cookie) {
    {
      const std::lock_guard lock{mutex};
      done.push_back({cookie});
    }
    signal();
  }
  void signal() const { ::eventfd_write(ready.get(), 1); }

  const UniqueFd ready;
  std::mutex mutex;
  std::vector<BlockCompletion> done;  // guarded by mutex
  std::atomic<std::size_t> in_flight{0};
};

// A piece of the image being read for the first transfer.
struct ReplicatedDisk::Chunk {
  std::vector<std::byte> bytes;
  std::uint64_t offset_bytes = 0;
  std::atomic<bool> read{false};
};

Result<std::unique_ptr<ReplicatedDisk>> ReplicatedDisk::create(std::shared_ptr<DiskImage> image, ReplicatedDiskConfig config) {
  US_CHECK(image != nullptr && config.max_queued_requests > 0);
  UniqueFd ready{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!ready) return Error::from_errno("make a disk's eventfd");
  auto completions = std::make_shared<Completions>(std::move(ready));
  return std::unique_ptr<ReplicatedDisk>{new ReplicatedDisk{std::move(image), std::move(config), std::move(completions)}};
}

ReplicatedDisk::ReplicatedDisk(std::shared_ptr<DiskImage> image, ReplicatedDiskConfig config, std::shared_ptr<Completions> completions)
    : image_{std::move(image)},
      config_{std::move(config)},
      owner_{image_->new_owner()},
      chunk_owner_{image_->new_owner()},
      completions_{std::move(completions)} {}

ReplicatedDisk::~ReplicatedDisk() {
  image_->cancel(chunk_owner_, Duration{});
  image_->cancel(owner_, std::chrono::seconds{1});
}

int ReplicatedDisk::completion_fd() const { return completions_->ready.get(); }

bool ReplicatedDisk::submit(const BlockRequest& request) {
  std::uint64_t length = 0;
  for (const MutableBytes piece : request.memory) length += piece.size();
  US_CHECK(request.offset_bytes <= capacity_bytes() && length <= capacity_bytes() - request.offset_bytes);
  US_CHECK(request.operation != BlockOperation::kWrite || !read_only());

  const std::lock_guard lock{mutex_};
  if (completions_->in_flight >= config_.max_queued_requests) {
    ++stats_.refused_queue;
    return false;
  }
  DiskTask task{.kind = DiskTask::Kind::kFlush,
                .offset_bytes = request.offset_bytes,
                .length_bytes = length,
                .into = {},
                .data = {},
                .done = [completions = completions_, cookie = request.cookie] { completions->add(cookie); },
                .owner = owner_};
  switch (request.operation) {
    case BlockOperation::kFlush:
      ++stats_.flushes;
      break;
    case BlockOperation::kRead:
      ++stats_.reads;
      task.kind = DiskTask::Kind::kRead;
      task.into.reserve(request.memory.size());
      for (const MutableBytes piece : request.memory) task.into.push_back({piece.data(), piece.size()});
      break;
    case BlockOperation::kWrite: {
      if (streaming_ && unacked_bytes_ != 0 && unacked_bytes_ + length > config_.max_unacked_bytes) {
        ++stats_.refused_unacked;
        room_wanted_ = true;
        return false;
      }
      ++stats_.writes;
      task.kind = DiskTask::Kind::kWrite;
      const auto copy = std::make_shared_for_overwrite<std::byte[]>(length);
      std::byte* out = copy.get();
      for (const MutableBytes piece : request.memory) {
        std::memcpy(out, piece.data(), piece.size());
        out += piece.size();
      }
      task.data = OwnedBytes{{copy.get(), length}, copy};
      if (streaming_) keep(request.offset_bytes, task.data);
      break;
    }
  }
  ++completions_->in_flight;
  image_->submit(std::move(task));
  return true;
}

// Into the stream, before anyone can see the write complete.
void ReplicatedDisk::keep(std::uint64_t offset_bytes, const OwnedBytes& data) {
  for (std::size_t from = 0; from < data.bytes.size();) {
    const std::size_t length = std::min<std::size_t>(kMaxDiskWriteBytes, data.bytes.size() - from);
    stream_.push_back(DiskWrite{.disk = 0,
                                .offset_bytes = offset_bytes + from,
                                .length_bytes = static_cast<std::uint32_t>(length),
                                .zeros = false,
                                .data = {data.bytes.subspan(from, length), data.owner}});
    from += length;
  }
  unacked_bytes_ += data.bytes.size();
}

std::size_t ReplicatedDisk::reap(std::span<BlockCompletion> completions) {
  const std::lock_guard lock{completions_->mutex};
  // Drained before the look at the list: the device's loop would turn round and round on an fd that stays readable.
  eventfd_t drained = 0;
  ::eventfd_read(completions_->ready.get(), &drained);
  auto& done = completions_->done;
  const std::size_t count = std::min(done.size(), completions.size());
  std::copy_n(done.begin(), count, completions.begin());
  done.erase(done.begin(), done.begin() + static_cast<std::ptrdiff_t>(count));
  completions_->in_flight -= count;
  if (!done.empty()) completions_->signal();
  return count;
}

bool ReplicatedDisk::abandon_in_flight(std::chrono::nanoseconds deadline) {
  const bool gone = image_->cancel(owner_, deadline);
  const std::lock_guard lock{completions_->mutex};
  completions_->done.clear();
  completions_->in_flight = 0;
  return gone;
}

void ReplicatedDisk::start_stream() {
  stop_stream();
  const std::lock_guard lock{mutex_};
  streaming_ = true;
}

void ReplicatedDisk::stop_stream() {
  chunk_.reset();
  const std::lock_guard lock{mutex_};
  streaming_ = false;
  stream_.clear();
  unacked_bytes_ = 0;
  if (std::exchange(room_wanted_, false)) completions_->signal();
}

std::vector<DiskWrite> ReplicatedDisk::take_writes() {
  const std::lock_guard lock{mutex_};
  return std::exchange(stream_, {});
}

void ReplicatedDisk::release(std::size_t bytes) {
  const std::lock_guard lock{mutex_};
  US_CHECK(bytes <= unacked_bytes_);
  unacked_bytes_ -= bytes;
  if (bytes != 0 && std::exchange(room_wanted_, false)) completions_->signal();
}

bool ReplicatedDisk::blocked() const {
  const std::lock_guard lock{mutex_};
  return room_wanted_;
}

void ReplicatedDisk::request_chunk(std::uint64_t offset_bytes, std::uint32_t length_bytes) {
  chunk_ = std::make_shared<Chunk>();
  chunk_->bytes.resize(length_bytes);
  chunk_->offset_bytes = offset_bytes;
  DiskTask task{.kind = DiskTask::Kind::kRead,
                .offset_bytes = offset_bytes,
                .length_bytes = length_bytes,
                .into = {iovec{chunk_->bytes.data(), length_bytes}},
                .data = {},
                .done = [chunk = chunk_] { chunk->read.store(true, std::memory_order_release); },
                .owner = chunk_owner_};
  image_->submit(std::move(task));
}

std::optional<DiskWrite> ReplicatedDisk::poll_chunk() {
  if (!chunk_ || !chunk_->read.load(std::memory_order_acquire)) return std::nullopt;
  const auto chunk = std::exchange(chunk_, nullptr);
  DiskWrite write{.disk = 0,
                  .offset_bytes = chunk->offset_bytes,
                  .length_bytes = static_cast<std::uint32_t>(chunk->bytes.size()),
                  .zeros = chunk->bytes.front() == std::byte{0} &&
                           std::memcmp(chunk->bytes.data(), chunk->bytes.data() + 1, chunk->bytes.size() - 1) == 0,
                  .data = {}};
  if (!write.zeros) write.data = OwnedBytes{chunk->bytes, chunk};
  return write;
}

ReplicatedDiskStats ReplicatedDisk::stats() const {
  const std::lock_guard lock{mutex_};
  ReplicatedDiskStats stats = stats_;
  stats.unacked_bytes = unacked_bytes_;
  return stats;
}

}  // namespace understudy
