#include "replication/replicated_disk.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include <sys/eventfd.h>

#include "net/base/check.h"
#include "replication/zero_runs.h"

namespace understudy {
namespace {

// Of write buffers waiting to be used again.
constexpr std::size_t kMaxSpareBytes = std::size_t{8} << 20;
// How far a hole is looked for at once. A guest's writes in that range wait for the look, which reads nothing.
constexpr std::uint64_t kMaxScanBytes = std::uint64_t{1} << 30;

}  // namespace

// The guest's requests that the image has, by slot, and those that are done. A request has one task, or for zeros several.
class ReplicatedDisk::Requests final : public DiskClient {
 public:
  struct Slot {
    BlockCookie cookie = 0;
    std::size_t tasks_left = 0;
    std::size_t copied_bytes = 0;
    std::vector<iovec> pieces;  // of a read; keeps its room
  };

  Requests(std::shared_ptr<const UniqueFd> ready, std::size_t slots) : ready_{std::move(ready)}, slots_(slots) {
    for (std::size_t slot = slots; slot > 0; --slot) free_.push_back(slot - 1);
    done_.reserve(slots);
  }

  // The device's loop. Null: all are taken.
  const Slot* take(BlockCookie cookie, std::size_t tasks, std::size_t copied_bytes, std::span<const MutableBytes> memory) {
    const std::lock_guard lock{mutex_};
    if (free_.empty()) return nullptr;
    Slot& slot = slots_[free_.back()];
    free_.pop_back();
    slot.cookie = cookie;
    slot.tasks_left = tasks;
    slot.copied_bytes = copied_bytes;
    slot.pieces.clear();
    for (const MutableBytes piece : memory) slot.pieces.push_back({piece.data(), piece.size()});
    copied_bytes_ += copied_bytes;
    return &slot;
  }
  std::uint64_t index_of(const Slot& slot) const { return static_cast<std::uint64_t>(&slot - slots_.data()); }

  void done(std::uint64_t index, std::uint64_t) override {
    {
      const std::lock_guard lock{mutex_};
      Slot& slot = slots_[index];
      if (--slot.tasks_left > 0) return;
      copied_bytes_ -= slot.copied_bytes;
      done_.push_back({slot.cookie});
      done_slots_.push_back(index);
    }
    ::eventfd_write(ready_->get(), 1);
  }

  std::size_t reap(std::span<BlockCompletion> completions) {
    const std::lock_guard lock{mutex_};
    // Drained before the look at the list: the device's loop would turn round and round on an fd that stays readable.
    eventfd_t drained = 0;
    ::eventfd_read(ready_->get(), &drained);
    const std::size_t count = std::min(done_.size(), completions.size());
    const auto end = static_cast<std::ptrdiff_t>(count);
    std::copy_n(done_.begin(), count, completions.begin());
    free_.insert(free_.end(), done_slots_.begin(), done_slots_.begin() + end);
    done_.erase(done_.begin(), done_.begin() + end);
    done_slots_.erase(done_slots_.begin(), done_slots_.begin() + end);
    if (!done_.empty()) ::eventfd_write(ready_->get(), 1);
    return count;
  }
  bool full() const {
    const std::lock_guard lock{mutex_};
    return free_.empty();
  }
  std::size_t copied_bytes() const {
    const std::lock_guard lock{mutex_};
    return copied_bytes_;
  }

 private:
  const std::shared_ptr<const UniqueFd> ready_;
  mutable std::mutex mutex_;
  std::vector<Slot> slots_;  // all guarded by mutex_; a slot's pieces do not change while a task has it
  std::vector<std::size_t> free_;
  std::vector<BlockCompletion> done_;
  std::vector<std::size_t> done_slots_;
  std::size_t copied_bytes_ = 0;
};

// A piece of the image being read for the first transfer.
struct ReplicatedDisk::Chunk final : DiskClient {
  void done(std::uint64_t, std::uint64_t) override { read.store(true, std::memory_order_release); }

  std::shared_ptr<std::byte> bytes;
  std::uint64_t offset_bytes = 0;
  std::uint32_t length_bytes = 0;
  iovec into{};
  std::atomic<bool> read{false};
};

// Before it: where the image has data at all.
struct ReplicatedDisk::Scan final : DiskClient {
  void done(std::uint64_t, std::uint64_t next_data) override {
    data_at = next_data;
    found.store(true, std::memory_order_release);
  }

  std::uint64_t offset_bytes = 0;
  std::uint64_t scanned_bytes = 0;
  std::uint32_t chunk_bytes = 0;
  std::uint64_t data_at = 0;
  std::atomic<bool> found{false};
};

Result<std::unique_ptr<ReplicatedDisk>> ReplicatedDisk::create(std::shared_ptr<DiskImage> image, ReplicatedDiskConfig config) {
  US_CHECK(image != nullptr && config.max_queued_requests > 0);
  auto ready = std::make_shared<const UniqueFd>(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!*ready) return Error::from_errno("make a disk's eventfd");
  return std::unique_ptr<ReplicatedDisk>{new ReplicatedDisk{std::move(image), std::move(config), std::move(ready)}};
}

ReplicatedDisk::ReplicatedDisk(std::shared_ptr<DiskImage> image, ReplicatedDiskConfig config, std::shared_ptr<const UniqueFd> ready)
    : image_{std::move(image)},
      config_{std::move(config)},
      ready_{std::move(ready)},
      buffers_{WriteBuffers::create(kMaxSpareBytes)},
      owner_{image_->new_owner()},
      chunk_owner_{image_->new_owner()},
      requests_{std::make_shared<Requests>(ready_, config_.max_queued_requests)} {}

ReplicatedDisk::~ReplicatedDisk() {
  image_->cancel(chunk_owner_, Duration{});
  image_->cancel(owner_, std::chrono::seconds{1});
}

void ReplicatedDisk::signal() const { ::eventfd_write(ready_->get(), 1); }

bool ReplicatedDisk::has_room(std::size_t kept, std::size_t copied) {
  if (streaming_ && unacked_bytes_ != 0 && unacked_bytes_ + kept > config_.max_unacked_bytes) {
    ++stats_.refused_unacked;
    room_wanted_ = true;
    return false;
  }
  const std::size_t queued = copied == 0 ? 0 : requests_->copied_bytes();
  if (queued != 0 && queued + copied > config_.max_queued_bytes) {
    ++stats_.refused_queue;
    return false;
  }
  return true;
}

bool ReplicatedDisk::submit(const BlockRequest& request) {
  std::uint64_t length = 0;
  for (const MutableBytes piece : request.memory) length += piece.size();
  US_CHECK(request.offset_bytes <= capacity_bytes() && length <= capacity_bytes() - request.offset_bytes);
  US_CHECK(!read_only() || request.operation == BlockOperation::kRead || request.operation == BlockOperation::kFlush);

  const std::lock_guard lock{mutex_};
  if (requests_->full()) {
    ++stats_.refused_queue;
    return false;
  }
  switch (request.operation) {
    case BlockOperation::kWrite:
      if (!has_room(length, length)) return false;
      submit_write(request, length);
      return true;
    case BlockOperation::kZeros:
      if (!has_room(request.extents.size() * sizeof(DiskWrite), 0)) return false;
      submit_zeros(request);
      return true;
    case BlockOperation::kRead:
    case BlockOperation::kFlush: {
      const bool is_read = request.operation == BlockOperation::kRead;
      ++(is_read ? stats_.reads : stats_.flushes);
      const auto* const slot = requests_->take(request.cookie, 1, 0, request.memory);
      image_->submit(DiskTask{.kind = is_read ? DiskTask::Kind::kRead : DiskTask::Kind::kFlush,
                              .offset_bytes = request.offset_bytes,
                              .length_bytes = length,
                              .into = slot->pieces,
                              .client = requests_,
                              .cookie = requests_->index_of(*slot),
                              .owner = owner_});
      return true;
    }
  }
  return false;
}

void ReplicatedDisk::submit_write(const BlockRequest& request, std::uint64_t length) {
  ++stats_.writes;
  const auto copy = buffers_->take(length);
  std::byte* out = copy.get();
  for (const MutableBytes piece : request.memory) {
    std::memcpy(out, piece.data(), piece.size());
    out += piece.size();
  }
  const OwnedBytes data{{copy.get(), length}, copy};
  take_note(request.offset_bytes, length);
  // Into the stream first, before anyone can see the write complete.
  for (std::uint64_t from = 0; streaming_ && from < length;) {
    const std::size_t piece = std::min<std::uint64_t>(kMaxDiskWriteBytes, length - from);
    keep(DiskWrite{.disk = 0,
                   .offset_bytes = request.offset_bytes + from,
                   .length_bytes = static_cast<std::uint32_t>(piece),
                   .zeros = false,
                   .data = {data.bytes.subspan(from, piece), data.owner}});
    from += piece;
  }
  const auto* const slot = requests_->take(request.cookie, 1, length, {});
  image_->submit(DiskTask{.kind = DiskTask::Kind::kWrite,
                          .offset_bytes = request.offset_bytes,
                          .length_bytes = length,
                          .data = data,
                          .stable = request.stable,
                          .client = requests_,
                          .cookie = requests_->index_of(*slot),
                          .owner = owner_});
}

// The same extents on both sides, so that a block that the guest discarded reads as zeros on either.
void ReplicatedDisk::submit_zeros(const BlockRequest& request) {
  ++stats_.zeros;
  const auto tasks_of = [](const BlockExtent& extent) { return (extent.length_bytes - 1) / kMaxDiskZerosBytes + 1; };
  std::size_t tasks = 0;
  for (const BlockExtent& extent : request.extents) {
    US_CHECK(extent.length_bytes > 0 && extent.offset_bytes <= capacity_bytes() &&
             extent.length_bytes <= capacity_bytes() - extent.offset_bytes);
    take_note(extent.offset_bytes, extent.length_bytes);
    tasks += tasks_of(extent);
  }
  US_CHECK(tasks > 0);
  const auto* const slot = requests_->take(request.cookie, tasks, 0, {});
  for (const BlockExtent& extent : request.extents) {
    for (std::uint64_t from = 0; from < extent.length_bytes;) {
      const std::uint64_t piece = std::min<std::uint64_t>(kMaxDiskZerosBytes, extent.length_bytes - from);
      const std::uint64_t offset = extent.offset_bytes + from;
      if (streaming_)
        keep(DiskWrite{.disk = 0, .offset_bytes = offset, .length_bytes = static_cast<std::uint32_t>(piece), .zeros = true, .data = {}});
      image_->submit(DiskTask{.kind = DiskTask::Kind::kZeros,
                              .offset_bytes = offset,
                              .length_bytes = piece,
                              .stable = request.stable,
                              .keep_space = request.keep_space,
                              .client = requests_,
                              .cookie = requests_->index_of(*slot),
                              .owner = owner_});
      from += piece;
    }
  }
}

void ReplicatedDisk::take_note(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  if (mapping_) map_.mark(offset_bytes, length_bytes);
}

void ReplicatedDisk::keep(DiskWrite write) {
  unacked_bytes_ += kept_bytes(write);
  stream_.push_back(std::move(write));
}

std::size_t ReplicatedDisk::reap(std::span<BlockCompletion> completions) { return requests_->reap(completions); }

bool ReplicatedDisk::abandon_in_flight(std::chrono::nanoseconds deadline) {
  const bool gone = image_->cancel(owner_, deadline);
  // What is stuck keeps the old ones, so that nothing of theirs is used again.
  requests_ = std::make_shared<Requests>(ready_, config_.max_queued_requests);
  return gone;
}

void ReplicatedDisk::start_stream() {
  const std::lock_guard lock{mutex_};
  end_stream();
  mapping_ = false;
  streaming_ = true;
}

void ReplicatedDisk::stop_stream() {
  const std::lock_guard lock{mutex_};
  end_stream();
  mapping_ = false;
  map_ = {};
}

void ReplicatedDisk::start_map() {
  ExtentMap fresh{capacity_bytes()};
  const std::lock_guard lock{mutex_};
  map_ = std::move(fresh);
  for (const DiskWrite& write : stream_) map_.mark(write.offset_bytes, write.length_bytes);
  end_stream();
  mapping_ = true;
}

ExtentMap ReplicatedDisk::take_map() {
  const std::lock_guard lock{mutex_};
  mapping_ = false;
  if (map_.disk_bytes() == 0) return ExtentMap{capacity_bytes()};
  return std::exchange(map_, {});
}

void ReplicatedDisk::end_stream() {
  scan_.reset();
  chunk_.reset();
  streaming_ = false;
  stream_.clear();
  unacked_bytes_ = 0;
  if (std::exchange(room_wanted_, false)) signal();
}

std::vector<DiskWrite> ReplicatedDisk::take_writes() {
  const std::lock_guard lock{mutex_};
  return std::exchange(stream_, {});
}

void ReplicatedDisk::release(std::size_t bytes) {
  const std::lock_guard lock{mutex_};
  US_CHECK(bytes <= unacked_bytes_);
  unacked_bytes_ -= bytes;
  if (bytes != 0 && std::exchange(room_wanted_, false)) signal();
}

bool ReplicatedDisk::blocked() const {
  const std::lock_guard lock{mutex_};
  return room_wanted_;
}

void ReplicatedDisk::request_chunk(std::uint64_t offset_bytes, std::uint32_t length_bytes) {
  chunk_.reset();
  scan_ = std::make_shared<Scan>();
  scan_->offset_bytes = offset_bytes;
  scan_->scanned_bytes = std::min(kMaxScanBytes, capacity_bytes() - offset_bytes);
  scan_->chunk_bytes = length_bytes;
  image_->submit(DiskTask{.kind = DiskTask::Kind::kNextData,
                          .offset_bytes = offset_bytes,
                          .length_bytes = scan_->scanned_bytes,
                          .client = scan_,
                          .owner = chunk_owner_});
}

void ReplicatedDisk::read_chunk() {
  const auto scan = std::exchange(scan_, nullptr);
  chunk_ = std::make_shared<Chunk>();
  chunk_->bytes = buffers_->take(scan->chunk_bytes);
  chunk_->offset_bytes = scan->offset_bytes;
  chunk_->length_bytes = scan->chunk_bytes;
  chunk_->into = {chunk_->bytes.get(), chunk_->length_bytes};
  image_->submit(DiskTask{.kind = DiskTask::Kind::kRead,
                          .offset_bytes = chunk_->offset_bytes,
                          .length_bytes = chunk_->length_bytes,
                          .into = std::span{&chunk_->into, 1},
                          .client = chunk_,
                          .owner = chunk_owner_});
}

std::optional<std::vector<DiskWrite>> ReplicatedDisk::poll_chunk() {
  if (scan_ && scan_->found.load(std::memory_order_acquire)) {
    const std::uint64_t hole_end = std::min(scan_->data_at, scan_->offset_bytes + scan_->scanned_bytes);
    // In whole sectors; a hole that is shorter than the chunk is read with what follows it.
    const std::uint64_t hole = (hole_end - scan_->offset_bytes) / kSectorBytes * kSectorBytes;
    if (hole >= scan_->chunk_bytes) {
      auto zeros = zero_extent(scan_->offset_bytes, hole);
      scan_.reset();
      return zeros;
    }
    read_chunk();
  }
  if (!chunk_ || !chunk_->read.load(std::memory_order_acquire)) return std::nullopt;
  const auto chunk = std::exchange(chunk_, nullptr);
  return split_at_zeros(chunk->offset_bytes, OwnedBytes{{chunk->bytes.get(), chunk->length_bytes}, chunk});
}

ReplicatedDiskStats ReplicatedDisk::stats() const {
  const std::lock_guard lock{mutex_};
  ReplicatedDiskStats stats = stats_;
  stats.unacked_bytes = unacked_bytes_;
  return stats;
}

}  // namespace understudy
