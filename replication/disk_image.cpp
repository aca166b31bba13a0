#include "replication/disk_image.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <pthread.h>
#include <thread>
#include <utility>
#include <vector>

#include "net/base/check.h"
#include "replication/disk_window.h"

namespace understudy {
namespace {

FileRequest request_of(const DiskTask& task) {
  static constexpr FileRequest::Kind kKinds[] = {FileRequest::Kind::kRead, FileRequest::Kind::kWrite, FileRequest::Kind::kZeros,
                                                 FileRequest::Kind::kFlush, FileRequest::Kind::kNextData};
  return {.kind = kKinds[static_cast<std::size_t>(task.kind)],
          .offset_bytes = task.offset_bytes,
          .length_bytes = task.length_bytes,
          .into = task.into,
          .from = task.data.bytes,
          .stable = task.stable,
          .keep_space = task.keep_space};
}

}  // namespace

// Shared with the worker, so that a thread stuck in the kernel keeps what it uses after everyone else is gone.
struct DiskImage::Core {
  Core(std::unique_ptr<BlockIo> i, const Clock& c, Duration retry) : io{std::move(i)}, clock{&c}, retry_every{retry}, window{io->depth()} {}

  struct Queued {
    DiskTask task;
    Instant at;
  };

  const std::unique_ptr<BlockIo> io;
  const Clock* const clock;  // gone once `stopping`, as are all others
  const Duration retry_every;

  std::mutex mutex;
  std::condition_variable changed;
  // Guarded by mutex; a window entry that is at the file keeps its task unchanged meanwhile.
  DiskWindow window;
  std::deque<Queued> queue;  // behind the window
  std::size_t at_file = 0;
  std::size_t failed_now = 0;  // entries whose latest attempt failed
  bool flush_failed = false;
  bool may_sleep = false;  // the worker may be in wait(), or go there without another look at the window
  bool stopping = false;
  bool stopped = false;
  std::uint64_t next_owner = 1;
  std::uint64_t completed = 0;
  std::uint64_t completed_bytes = 0;
  Duration time_at_host{};
  std::uint64_t errors = 0;
  std::string last_error;
  Instant progress_at{};
  std::function<void(const Error&)> report;
  // The worker's.
  std::vector<std::pair<unsigned, FileRequest>> starting;
  std::vector<FileCompletion> completions;

  void fill_window() {
    while (!window.full() && !queue.empty()) {
      window.add(std::move(queue.front().task), queue.front().at);
      queue.pop_front();
    }
  }
  DiskTask remove(unsigned slot) {
    if (window.at(slot).failed) --failed_now;
    DiskTask task = window.remove(slot);
    fill_window();
    changed.notify_all();
    return task;
  }
  std::optional<Duration> pick();
  std::optional<Error> settle(FileCompletion& completion);
  void work();
};

// Which tasks go to the file now; and until when to wait at most.
std::optional<Duration> DiskImage::Core::pick() {
  starting.clear();
  if (stopping || flush_failed) return std::nullopt;
  const Instant now = clock->now();
  for (const unsigned slot : window.order()) {
    DiskWindow::Entry& entry = window.at(slot);
    if (!window.ready(entry, now)) continue;
    entry.at_file = true;
    entry.started_at = now;
    ++at_file;
    starting.emplace_back(slot, request_of(entry.task));
  }
  const auto retry = window.next_retry();
  if (!retry) return std::nullopt;
  return std::max(*retry - now, Duration{});
}

// Takes note of what the host answered; the error when the image begins to fail.
std::optional<Error> DiskImage::Core::settle(FileCompletion& completion) {
  DiskWindow::Entry& entry = window.at(completion.slot);
  US_CHECK(entry.used && entry.at_file);
  entry.at_file = false;
  --at_file;
  if (!completion.error || entry.cancelled || stopping) {
    const bool cancelled = entry.cancelled || stopping;
    const Instant started_at = entry.started_at;
    const DiskTask done = remove(completion.slot);
    if (!completion.error && !stopping) {
      ++completed;
      completed_bytes += done.length_bytes;
      time_at_host += clock->now() - started_at;
    }
    // Called under the lock, so that cancel() can promise that no done() comes after it.
    if (!cancelled && done.client) done.client->done(done.cookie, completion.next_data);
    return std::nullopt;
  }
  const bool was_well = failed_now == 0;
  if (!std::exchange(entry.failed, true)) ++failed_now;
  entry.retry_at = clock->now() + retry_every;
  flush_failed |= entry.task.kind == DiskTask::Kind::kFlush;
  ++errors;
  last_error = completion.error->text();
  changed.notify_all();
  if (!was_well) return std::nullopt;
  return std::move(completion.error);
}

void DiskImage::Core::work() {
  std::unique_lock lock{mutex};
  // What is at the file uses memory that must stay until the host lets go of it, also when nobody is left to wait for it.
  while (!stopping || at_file > 0) {
    const auto timeout = pick();
    may_sleep = true;
    lock.unlock();
    for (const auto& [slot, request] : starting) io->start(slot, request);
    completions.clear();
    const bool progress = io->wait(timeout, completions);
    lock.lock();
    may_sleep = false;
    if (progress && !stopping) progress_at = clock->now();
    for (FileCompletion& completion : completions) {
      const auto error = settle(completion);
      if (!error || !report) continue;
      const auto tell = report;
      lock.unlock();
      tell(*error);
      lock.lock();
    }
  }
  stopped = true;
  changed.notify_all();
}

std::shared_ptr<DiskImage> DiskImage::start(std::unique_ptr<BlockIo> io, const Clock& clock, Duration retry_every) {
  US_CHECK(io != nullptr);
  auto core = std::make_shared<Core>(std::move(io), clock, retry_every);
  std::thread worker{[core] {
    ::pthread_setname_np(::pthread_self(), "disk");
    core->work();
  }};
  worker.detach();  // it may be stuck in the kernel for ever: nobody can join it then
  return std::shared_ptr<DiskImage>{new DiskImage{std::move(core)}};
}

std::shared_ptr<DiskImage> DiskImage::start(std::unique_ptr<BlockFile> file, const Clock& clock, Duration retry_every) {
  return start(make_serial_io(std::move(file)), clock, retry_every);
}

DiskImage::DiskImage(std::shared_ptr<Core> core) : core_{std::move(core)} {}

DiskImage::~DiskImage() {
  std::unique_lock lock{core_->mutex};
  core_->stopping = true;
  core_->report = nullptr;
  core_->io->wake();
  // A healthy worker ends now; a stuck one is left behind with the core.
  core_->changed.wait_for(lock, std::chrono::seconds{1}, [this] { return core_->stopped; });
}

std::uint64_t DiskImage::size_bytes() const { return core_->io->size_bytes(); }
bool DiskImage::read_only() const { return core_->io->read_only(); }

void DiskImage::submit(DiskTask task) {
  bool wake = false;
  {
    const std::lock_guard lock{core_->mutex};
    const Instant now = core_->clock->now();
    if (core_->window.size() == 0) core_->progress_at = now;
    if (core_->queue.empty() && !core_->window.full())
      core_->window.add(std::move(task), now);
    else
      core_->queue.push_back({std::move(task), now});
    wake = std::exchange(core_->may_sleep, false);
  }
  if (wake) core_->io->wake();
}

bool DiskImage::cancel(std::uint64_t owner, Duration deadline) {
  std::unique_lock lock{core_->mutex};
  DiskWindow& window = core_->window;
  const auto is_dropped = [&](const DiskTask& task) { return task.owner == owner && !task.changes_the_image(); };
  std::erase_if(core_->queue, [&](const Core::Queued& queued) { return is_dropped(queued.task); });
  for (Core::Queued& queued : core_->queue)
    if (queued.task.owner == owner) queued.task.client.reset();
  const std::vector<unsigned> slots{window.order().begin(), window.order().end()};
  for (const unsigned slot : slots) {
    DiskWindow::Entry& entry = window.at(slot);
    if (is_dropped(entry.task)) {
      entry.cancelled = true;
      if (!entry.at_file) core_->remove(slot);
    } else if (entry.task.owner == owner) {
      entry.task.client.reset();
    }
  }
  core_->io->wake();
  return core_->changed.wait_for(lock, deadline, [&] {
    return std::ranges::none_of(window.order(),
                                [&](unsigned slot) { return window.at(slot).cancelled && is_dropped(window.at(slot).task); });
  });
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
  DiskEvidence evidence{.outstanding = core_->queue.size() + core_->window.size(),
                        .oldest_age = {},
                        .since_progress = {},
                        .longest_at_host = {},
                        .completed = core_->completed,
                        .completed_bytes = core_->completed_bytes,
                        .time_at_host = core_->time_at_host,
                        .errors = core_->errors,
                        .last_error = core_->last_error,
                        .failing = core_->failed_now > 0 || core_->flush_failed};
  if (evidence.outstanding == 0) return evidence;
  evidence.oldest_age = now - core_->window.at(core_->window.order().front()).submitted_at;
  evidence.since_progress = now - core_->progress_at;
  for (const unsigned slot : core_->window.order()) {
    const DiskWindow::Entry& entry = core_->window.at(slot);
    if (entry.at_file) evidence.longest_at_host = std::max(evidence.longest_at_host, now - entry.started_at);
  }
  return evidence;
}

}  // namespace understudy
