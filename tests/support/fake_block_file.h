// A block file in memory that records its operations, and fails or hangs on command.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "replication/block_file.h"

namespace understudy::fake {

inline std::vector<std::byte> filled(std::size_t count, std::uint8_t value) { return std::vector<std::byte>(count, std::byte{value}); }

// Shared with the test, while the DiskImage owns the file itself. Any thread.
class FakeStorage {
 public:
  explicit FakeStorage(std::size_t bytes) : image_(bytes) {}

  // Operations from now on wait until release().
  void hang() { set_hanging(true); }
  void release() { set_hanging(false); }
  void fail_with(std::optional<std::string> text) {
    const std::lock_guard lock{mutex_};
    error_ = std::move(text);
  }
  // Waits until an operation stands in hang(), or `count` operations were begun; false after ten seconds.
  bool wait_for_operations(std::size_t count) {
    std::unique_lock lock{mutex_};
    return changed_.wait_for(lock, std::chrono::seconds{10}, [&] { return log_.size() >= count; });
  }
  std::vector<std::string> log() const {
    const std::lock_guard lock{mutex_};
    return log_;
  }
  std::vector<std::byte> image() const {
    const std::lock_guard lock{mutex_};
    return image_;
  }
  void fill(std::byte value) {
    const std::lock_guard lock{mutex_};
    std::fill(image_.begin(), image_.end(), value);
  }

 private:
  friend class FakeBlockFile;
  void set_hanging(bool hanging) {
    const std::lock_guard lock{mutex_};
    hanging_ = hanging;
    changed_.notify_all();
  }
  template <class Work>
  Result<void> carry_out(std::string name, Work work) {
    std::unique_lock lock{mutex_};
    log_.push_back(std::move(name));
    changed_.notify_all();
    changed_.wait(lock, [this] { return !hanging_; });
    if (error_) return Error{ErrorCode::kFailed, log_.back() + ": " + *error_};
    work();
    return {};
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::byte> image_;
  std::vector<std::string> log_;
  bool hanging_ = false;
  std::optional<std::string> error_;
};

class FakeBlockFile final : public BlockFile {
 public:
  explicit FakeBlockFile(std::shared_ptr<FakeStorage> storage, bool read_only = false)
      : storage_{std::move(storage)}, size_{storage_->image_.size()}, read_only_{read_only} {}

  std::uint64_t size_bytes() const override { return size_; }
  bool read_only() const override { return read_only_; }
  Result<void> read(std::uint64_t offset, std::span<const iovec> into) override {
    return storage_->carry_out("read " + std::to_string(offset), [&] {
      for (const iovec& piece : into) {
        std::memcpy(piece.iov_base, storage_->image_.data() + offset, piece.iov_len);
        offset += piece.iov_len;
      }
    });
  }
  Result<void> write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    return storage_->carry_out("write " + std::to_string(offset),
                               [&] { std::memcpy(storage_->image_.data() + offset, bytes.data(), bytes.size()); });
  }
  Result<void> write_zeros(std::uint64_t offset, std::uint64_t length, bool) override {
    return storage_->carry_out("zeros " + std::to_string(offset),
                               [&] { std::memset(storage_->image_.data() + offset, 0, static_cast<std::size_t>(length)); });
  }
  Result<void> sync() override {
    return storage_->carry_out("flush", [] {});
  }
  Result<std::uint64_t> next_data(std::uint64_t offset) override { return offset; }  // it has no holes

 private:
  const std::shared_ptr<FakeStorage> storage_;
  const std::size_t size_;
  const bool read_only_;
};

}  // namespace understudy::fake
