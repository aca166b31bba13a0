// A BlockIo over plain memory whose requests complete when, in which order and with which result the test wants.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "net/base/check.h"
#include "replication/block_io.h"

namespace understudy::fake {

// Shared with the test, while the DiskImage owns the BlockIo itself. Any thread.
class FakeHost {
 public:
  explicit FakeHost(std::size_t bytes) : image_(bytes) {}

  // From now on requests complete by themselves, in a random order; one of so many attempts fails (0: none).
  void run(std::uint64_t seed, unsigned fail_one_of) {
    const std::lock_guard lock{mutex_};
    random_.seed(seed);
    running_ = true;
    fail_one_of_ = fail_one_of;
    changed_.notify_all();
  }
  // "read 512", "write 0", "zeros 4096", "flush", "data 0": what stands at the file, in the order in which it came.
  std::vector<std::string> waiting() const {
    const std::lock_guard lock{mutex_};
    std::vector<std::string> names;
    for (const auto& each : at_file_) names.push_back(each.name);
    return names;
  }
  // Waits until exactly these stand at the file (whatever their order); false after ten seconds.
  bool wait_for(std::vector<std::string> names) {
    std::sort(names.begin(), names.end());
    std::unique_lock lock{mutex_};
    return changed_.wait_for(lock, std::chrono::seconds{10}, [&] {
      std::vector<std::string> now;
      for (const auto& each : at_file_) now.push_back(each.name);
      std::sort(now.begin(), now.end());
      return now == names;
    });
  }
  // Lets the oldest of that name complete.
  void complete(const std::string& name, std::optional<std::string> error = std::nullopt) {
    const std::lock_guard lock{mutex_};
    const auto found = std::find_if(at_file_.begin(), at_file_.end(), [&](const AtFile& each) { return each.name == name; });
    US_CHECK(found != at_file_.end());
    finish(found, std::move(error));
  }
  std::vector<std::byte> image() const {
    const std::lock_guard lock{mutex_};
    return image_;
  }
  FileRequest latest() const {
    const std::lock_guard lock{mutex_};
    return latest_;
  }

 private:
  friend class FakeBlockIo;
  struct AtFile {
    unsigned slot;
    FileRequest request;
    std::string name;
  };

  void finish(std::vector<AtFile>::iterator which, std::optional<std::string> error) {
    const FileRequest& request = which->request;
    FileCompletion completion{.slot = which->slot, .error = std::nullopt, .next_data = request.offset_bytes};
    if (error) {
      completion.error = Error{ErrorCode::kFailed, which->name + ": " + *error};
    } else {
      carry_out(request);
    }
    completed_.push_back(std::move(completion));
    at_file_.erase(which);
    changed_.notify_all();
  }
  void carry_out(const FileRequest& request) {
    if (request.offset_bytes >= image_.size()) return;
    std::byte* at = image_.data() + request.offset_bytes;
    if (request.kind == FileRequest::Kind::kWrite) std::memcpy(at, request.from.data(), request.from.size());
    if (request.kind == FileRequest::Kind::kZeros)
      std::memset(at, 0, std::min<std::size_t>(request.length_bytes, image_.size() - request.offset_bytes));
    if (request.kind != FileRequest::Kind::kRead) return;
    for (const iovec& piece : request.into) {
      std::memcpy(piece.iov_base, at, piece.iov_len);
      at += piece.iov_len;
    }
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::byte> image_;
  std::vector<AtFile> at_file_;
  std::vector<FileCompletion> completed_;
  FileRequest latest_;
  bool running_ = false;
  unsigned fail_one_of_ = 0;
  bool woken_ = false;
  std::mt19937_64 random_;
};

class FakeBlockIo final : public BlockIo {
 public:
  // `size_bytes`: as it is told, if not 0. Beyond the host's own image there is nothing, and only zeros may be written.
  FakeBlockIo(std::shared_ptr<FakeHost> host, unsigned depth, bool read_only = false, std::size_t size_bytes = 0)
      : host_{std::move(host)}, size_{size_bytes != 0 ? size_bytes : host_->image_.size()}, depth_{depth}, read_only_{read_only} {}

  std::uint64_t size_bytes() const override { return size_; }
  bool read_only() const override { return read_only_; }
  unsigned depth() const override { return depth_; }
  void start(unsigned slot, const FileRequest& request) override {
    static constexpr const char* kNames[] = {"read ", "write ", "zeros ", "flush", "data "};
    const std::lock_guard lock{host_->mutex_};
    for (const auto& each : host_->at_file_) US_CHECK(each.slot != slot);
    US_CHECK(slot < depth_ && host_->at_file_.size() < depth_);
    std::string name = kNames[static_cast<std::size_t>(request.kind)];
    if (request.kind != FileRequest::Kind::kFlush) name += std::to_string(request.offset_bytes);
    host_->at_file_.push_back({slot, request, std::move(name)});
    host_->latest_ = request;
    host_->changed_.notify_all();
  }
  bool wait(std::optional<Duration> timeout, std::vector<FileCompletion>& completed) override {
    std::unique_lock lock{host_->mutex_};
    FakeHost& host = *host_;
    if (host.running_ && host.completed_.empty() && !host.at_file_.empty()) {
      const auto which = static_cast<std::ptrdiff_t>(host.random_() % host.at_file_.size());
      const bool fails = host.fail_one_of_ != 0 && host.random_() % host.fail_one_of_ == 0 &&
                         host.at_file_[static_cast<std::size_t>(which)].request.kind != FileRequest::Kind::kFlush;
      host.finish(host.at_file_.begin() + which, fails ? std::optional<std::string>{"Input/output error (EIO)"} : std::nullopt);
    }
    const auto ready = [&] { return host.woken_ || !host.completed_.empty() || (host.running_ && !host.at_file_.empty()); };
    if (timeout)
      host.changed_.wait_for(lock, *timeout, ready);
    else
      host.changed_.wait(lock, ready);
    host.woken_ = false;
    bool progress = false;
    for (FileCompletion& each : host.completed_) {
      progress |= !each.error;
      completed.push_back(std::move(each));
    }
    host.completed_.clear();
    return progress;
  }
  void wake() override {
    const std::lock_guard lock{host_->mutex_};
    host_->woken_ = true;
    host_->changed_.notify_all();
  }

 private:
  const std::shared_ptr<FakeHost> host_;
  const std::size_t size_;
  const unsigned depth_;
  const bool read_only_;
};

}  // namespace understudy::fake
