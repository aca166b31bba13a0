#include "replication/disk_image.h"

#include <algorithm>
#include <pthread.h>
#include <utility>

#include "net/base/check.h"

namespace understudy {

// Shared with the worker, so that a thread stuck in the kernel keeps what it uses after everyone else is gone.
struct DiskImage::Core {
  Core(std::unique_ptr<BlockFile> f, const Clock& c, Duration retry) : file{std::move(f)}, clock{&c}, retry_every{retry} {}

  struct Queued {
    DiskTask task;
    Instant at;
  };

  const std::unique_ptr<BlockFile> file;
  const Clock* const clock;
  const Duration retry_every;

  std::mutex mutex;
  std::condition_variable changed;
  // Guarded by mutex:
  std::deque<Queued> queue;  // the first one is at the file while `busy`
  bool busy = false;
  bool first_cancelled = false;  // ... and its owner took it back meanwhile: no done() for it, and no second try
  bool flush_failed = false;
  bool stopping = false;
  bool stopped = false;
  std::uint64_t next_owner = 1;
  std::uint64_t completed = 0;
  std::uint64_t errors = 0;
  bool failing = false;
  std::string last_error;
  std::function<void(const Error&)> report;

  Result<void> carry_out(const DiskTask& task) {
    switch (task.kind) {
      case DiskTask::Kind::kRead:
        return file->read(task.offset_bytes, task.into);
      case DiskTask::Kind::kWrite:
        return file->write(task.offset_bytes, task.data.bytes);
      case DiskTask::Kind::kZeros:
        return file->write_zeros(task.offset_bytes, task.length_bytes);
      case DiskTask::Kind::kFlush:
        return file->sync();
    }
    return {};
  }
  void work();
};

void DiskImage::Core::work() {
  std::unique_lock lock{mutex};
  while (true) {
    changed.wait(lock, [this] { return stopping || (!queue.empty() && !flush_failed); });
    if (stopping) break;
    busy = true;
    first_cancelled = false;
    DiskTask& task = queue.front().task;  // a deque's elements stay where they are while others come and go behind them
    lock.unlock();
    const Result<void> result = carry_out(task);
    lock.lock();
    busy = false;
    failing = !result;
    const bool cancelled = std::exchange(first_cancelled, false);
    if (result || cancelled) {
      const DiskTask done = std::move(task);
      queue.pop_front();
      if (result) ++completed;
      // Called under the lock, so that cancel() can promise that no done() comes after it. It must not call back.
      if (!cancelled && done.done) done.done();
      changed.notify_all();
      continue;
    }
    ++errors;
    last_error = result.error().text();
    flush_failed = task.kind == DiskTask::Kind::kFlush;
    changed.notify_all();
    if (report) {
      const auto tell = report;
      lock.unlock();
      tell(result.error());
      lock.lock();
    }
    changed.wait_for(lock, retry_every, [this] { return stopping; });
  }
  stopped = true;
  changed.notify_all();
}

std::shared_ptr<DiskImage> DiskImage::start(std::unique_ptr<BlockFile> file, const Clock& clock, Duration retry_every) {
  US_CHECK(file != nullptr);
  auto core = std::make_shared<Core>(std::move(file), clock, retry_every);
  std::thread worker{[core] {
    ::pthread_setname_np(::pthread_self(), "disk");
    core->work();
  }};
  worker.detach();  // it may be stuck in the kernel for ever: nobody can join it then
  return std::shared_ptr<DiskImage>{new DiskImage{std::move(core)}};
}

DiskImage::DiskImage(std::shared_ptr<Core> core) : core_{std::move(core)} {}

DiskImage::~DiskImage() {
  std::unique_lock lock{core_->mutex};
  core_->stopping = true;
  core_->report = nullptr;
  core_->changed.notify_all();
  // A healthy worker ends now; a stuck one is left behind with the core.
  core_->changed.wait_for(lock, std::chrono::seconds{1}, [this] { return core_->stopped; });
}

std::uint64_t DiskImage::size_bytes() const { return core_->file->size_bytes(); }
bool DiskImage::read_only() const { return core_->file->read_only(); }

void DiskImage::submit(DiskTask task) {
  const std::lock_guard lock{core_->mutex};
  core_->queue.push_back({std::move(task), core_->clock->now()});
  core_->changed.notify_all();
}

bool DiskImage::cancel(std::uint64_t owner, Duration deadline) {
  std::unique_lock lock{core_->mutex};
  auto& queue = core_->queue;
  const auto is_dropped = [&](const Core::Queued& queued) {
    const bool keeps = queued.task.kind == DiskTask::Kind::kWrite || queued.task.kind == DiskTask::Kind::kZeros;
    return queued.task.owner == owner && !keeps;
  };
  const auto forget_done = [&](Core::Queued& queued) {
    if (queued.task.owner == owner) queued.task.done = nullptr;
  };
  if (!queue.empty()) {
    forget_done(queue.front());
    const bool first_goes = is_dropped(queue.front());
    const auto rest = queue.begin() + 1;
    std::for_each(rest, queue.end(), forget_done);
    queue.erase(std::remove_if(rest, queue.end(), is_dropped), queue.end());
    if (first_goes && core_->busy) core_->first_cancelled = true;
    if (first_goes && !core_->busy) queue.pop_front();
  }
  core_->changed.notify_all();
  return core_->changed.wait_for(lock, deadline, [&] { return !core_->busy || queue.empty() || !is_dropped(queue.front()); });
}

std::uint64_t DiskImage::new_owner() {
  const std::lock_guard lock{core_->mutex};
  return core_->next_owner++;
}

void DiskImage::on_error(std::function<void(const Error&)> report) {
  const std::lock_guard lock{core_->mutex};
  core_->report = std::move(report);
}

DiskEvidence DiskImage::evidence(Instant now) const {
  const std::lock_guard lock{core_->mutex};
  return DiskEvidence{.outstanding = core_->queue.size(),
                      .oldest_age = core_->queue.empty() ? Duration{} : now - core_->queue.front().at,
                      .completed = core_->completed,
                      .errors = core_->errors,
                      .last_error = core_->last_error,
                      .failing = core_->failing || core_->flush_failed};
}

}  // namespace understudy
