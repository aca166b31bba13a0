// A BlockIo over a BlockFile: each request is carried out in start(), on the caller's thread.
#include <condition_variable>
#include <mutex>
#include <utility>

#include "net/base/check.h"
#include "replication/block_file.h"

namespace understudy {
namespace {

class SerialBlockIo final : public BlockIo {
 public:
  explicit SerialBlockIo(std::unique_ptr<BlockFile> file) : file_{std::move(file)} {}

  std::uint64_t size_bytes() const override { return file_->size_bytes(); }
  bool read_only() const override { return file_->read_only(); }
  unsigned depth() const override { return 1; }

  void start(unsigned slot, const FileRequest& request) override {
    US_CHECK(slot == 0 && !completed_);
    completed_ = FileCompletion{};
    if (const auto result = carry_out(request); !result) completed_->error = result.error();
  }

  bool wait(std::optional<Duration> timeout, std::vector<FileCompletion>& completed) override {
    if (completed_) {
      completed.push_back(std::move(*std::exchange(completed_, std::nullopt)));
      return !completed.back().error;
    }
    std::unique_lock lock{mutex_};
    const auto woken = [this] { return woken_; };
    if (timeout)
      changed_.wait_for(lock, *timeout, woken);
    else
      changed_.wait(lock, woken);
    woken_ = false;
    return false;
  }

  void wake() override {
    {
      const std::lock_guard lock{mutex_};
      woken_ = true;
    }
    changed_.notify_all();
  }

 private:
  Result<void> carry_out(const FileRequest& request) {
    switch (request.kind) {
      case FileRequest::Kind::kRead:
        return file_->read(request.offset_bytes, request.into);
      case FileRequest::Kind::kWrite:
        US_TRY(file_->write(request.offset_bytes, request.from));
        return request.stable ? file_->sync() : Result<void>{};
      case FileRequest::Kind::kZeros:
        US_TRY(file_->write_zeros(request.offset_bytes, request.length_bytes, request.keep_space));
        return request.stable ? file_->sync() : Result<void>{};
      case FileRequest::Kind::kFlush:
        return file_->sync();
      case FileRequest::Kind::kNextData:
        US_ASSIGN(completed_->next_data, file_->next_data(request.offset_bytes));
        return {};
    }
    return {};
  }

  const std::unique_ptr<BlockFile> file_;
  std::optional<FileCompletion> completed_;  // the caller's thread
  std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;  // guarded by mutex_
};

}  // namespace

std::unique_ptr<BlockIo> make_serial_io(std::unique_ptr<BlockFile> file) { return std::make_unique<SerialBlockIo>(std::move(file)); }

}  // namespace understudy
