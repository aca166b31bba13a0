// Disks over plain memory for both ends of a session: one thread, nothing happens by itself.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "net/base/check.h"
#include "replication/disk_stream.h"

namespace understudy::fake {

using DiskBytes = std::vector<std::byte>;

inline void write_into(DiskBytes& image, const DiskWrite& write) {
  US_CHECK(write.offset_bytes + write.length_bytes <= image.size());
  std::byte* const at = image.data() + write.offset_bytes;
  if (write.zeros)
    std::memset(at, 0, write.length_bytes);
  else
    std::memcpy(at, write.data.bytes.data(), write.length_bytes);
}

// The primary's: guest_write() is the guest, everything else the session.
class FakeDiskStream final : public DiskStream {
 public:
  explicit FakeDiskStream(std::size_t bytes, bool read_only = false) : image_(bytes), read_only_{read_only} {}

  // False: too much un-acked, the guest has to wait.
  bool guest_write(std::uint64_t offset, std::span<const std::byte> bytes) {
    blocked_ = streaming_ && unacked_ != 0 && unacked_ + bytes.size() > limit_;
    if (blocked_) return false;
    const auto copy = std::make_shared<DiskBytes>(bytes.begin(), bytes.end());
    DiskWrite write{
        .offset_bytes = offset, .length_bytes = static_cast<std::uint32_t>(bytes.size()), .zeros = false, .data = {*copy, copy}};
    write_into(image_, write);
    if (mapping_) map_.mark(offset, bytes.size());
    if (streaming_) {
      unacked_ += bytes.size();
      stream_.push_back(std::move(write));
    }
    return true;
  }
  // A discard or write-zeroes.
  void guest_zero(std::uint64_t offset, std::uint32_t length) {
    DiskWrite write{.offset_bytes = offset, .length_bytes = length, .zeros = true, .data = {}};
    write_into(image_, write);
    if (mapping_) map_.mark(offset, length);
    if (!streaming_) return;
    unacked_ += kept_bytes(write);
    stream_.push_back(std::move(write));
  }
  const DiskBytes& image() const { return image_; }
  DiskBytes& image() { return image_; }
  std::size_t unacked() const { return unacked_; }
  bool streaming() const { return streaming_; }
  void set_limit(std::size_t bytes) { limit_ = bytes; }

  std::uint64_t capacity_bytes() const override { return image_.size(); }
  bool read_only() const override { return read_only_; }
  void start_stream() override {
    end_stream();
    mapping_ = false;
    streaming_ = true;
  }
  void stop_stream() override {
    end_stream();
    mapping_ = false;
    map_ = {};
  }
  void start_map() override {
    map_ = ExtentMap{image_.size()};
    for (const DiskWrite& write : stream_) map_.mark(write.offset_bytes, write.length_bytes);
    end_stream();
    mapping_ = true;
  }
  ExtentMap take_map() override {
    mapping_ = false;
    if (map_.disk_bytes() == 0) return ExtentMap{image_.size()};
    return std::exchange(map_, {});
  }
  std::vector<DiskWrite> take_writes() override { return std::exchange(stream_, {}); }
  void release(std::size_t bytes) override {
    US_CHECK(bytes <= unacked_);
    unacked_ -= bytes;
  }
  bool blocked() const override { return blocked_; }
  void request_chunk(std::uint64_t offset, std::uint32_t length) override {
    const auto copy = std::make_shared<DiskBytes>(image_.begin() + static_cast<std::ptrdiff_t>(offset),
                                                  image_.begin() + static_cast<std::ptrdiff_t>(offset + length));
    const bool zeros = std::all_of(copy->begin(), copy->end(), [](std::byte byte) { return byte == std::byte{0}; });
    polls_ = 0;
    chunk_ = DiskWrite{.offset_bytes = offset, .length_bytes = length, .zeros = zeros, .data = {}};
    if (!zeros) chunk_->data = OwnedBytes{*copy, copy};
  }
  std::optional<std::vector<DiskWrite>> poll_chunk() override {
    if (!chunk_ || polls_++ < slow_polls_) return std::nullopt;
    return std::vector{*std::exchange(chunk_, std::nullopt)};
  }
  // A chunk is read at its request, and arrives after so many polls in vain.
  void set_slow_chunks(unsigned polls) { slow_polls_ = polls; }

 private:
  void end_stream() {
    streaming_ = false;
    blocked_ = false;
    unacked_ = 0;
    stream_.clear();
  }

  DiskBytes image_;
  const bool read_only_;
  bool mapping_ = false;
  ExtentMap map_;
  bool streaming_ = false;
  bool blocked_ = false;
  std::size_t unacked_ = 0;
  std::size_t limit_ = std::size_t{64} << 20;
  std::vector<DiskWrite> stream_;
  std::optional<DiskWrite> chunk_;
  unsigned polls_ = 0;
  unsigned slow_polls_ = 0;
};

// The secondary's. set_stuck(true) lets a backlog grow.
class FakeDiskSink final : public DiskSink {
 public:
  explicit FakeDiskSink(std::size_t bytes, bool read_only = false) : image_(bytes), read_only_{read_only} {}

  std::uint64_t capacity_bytes() const override { return image_.size(); }
  bool read_only() const override { return read_only_; }
  void apply(DiskWrite write) override {
    backlog_bytes_ += kept_bytes(write);
    backlog_.push_back(std::move(write));
    if (!stuck_) set_stuck(false);
  }
  std::size_t backlog_bytes() const override { return backlog_bytes_; }
  std::uint64_t sync() override {
    ++syncs_;
    if (!stuck_) set_stuck(false);
    return syncs_;
  }
  std::uint64_t synced() const override { return synced_; }
  std::optional<Error> failure() const override { return failure_; }

  void set_stuck(bool stuck) {
    stuck_ = stuck;
    if (stuck) return;
    for (const DiskWrite& write : backlog_) write_into(image_, write);
    backlog_.clear();
    backlog_bytes_ = 0;
    if (synced_ == syncs_) return;
    synced_ = syncs_;
    stable_ = image_;
  }
  // What a power loss leaves: the image as it was synced last.
  const DiskBytes& stable() const { return stable_; }
  void set_failure(std::optional<Error> failure) { failure_ = std::move(failure); }
  const DiskBytes& image() const { return image_; }
  DiskBytes& image() { return image_; }

 private:
  DiskBytes image_;
  const bool read_only_;
  std::vector<DiskWrite> backlog_;
  std::size_t backlog_bytes_ = 0;
  std::uint64_t syncs_ = 0;
  std::uint64_t synced_ = 0;
  DiskBytes stable_;
  bool stuck_ = false;
  std::optional<Error> failure_;
};

}  // namespace understudy::fake
