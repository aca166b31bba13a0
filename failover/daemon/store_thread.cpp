#include "failover/daemon/store_thread.h"

#include <atomic>
#include <mutex>
#include <optional>

#include "net/base/log.h"

namespace understudy {

// One write and its answer, whichever of answer and deadline comes first.
struct StoreThread::Pending {
  Done done;
  EventLoop::TimerId timer = 0;
  bool answered = false;
};

struct StoreThread::Latest {
  std::mutex mutex;
  std::optional<CommittedEpoch> waiting;  // guarded by mutex
};

Result<std::unique_ptr<StoreThread>> StoreThread::start(std::unique_ptr<EpochStore> store, EventLoop& answers, const Clock& clock,
                                                        Duration deadline) {
  std::unique_ptr<StoreThread> result{new StoreThread{std::move(store), answers, deadline}};
  US_ASSIGN(result->thread_, LoopThread::start(clock, "store"));
  return result;
}

StoreThread::StoreThread(std::unique_ptr<EpochStore> store, EventLoop& answers, Duration deadline)
    : answers_{answers}, deadline_{deadline}, store_{std::move(store)}, latest_{std::make_shared<Latest>()} {}

void StoreThread::run(std::function<Result<void>(EpochStore&)> write, Done done) {
  const auto pending = std::make_shared<Pending>();
  pending->done = std::move(done);
  pending->timer = answers_.call_at(answers_.clock().now() + deadline_, [pending, deadline = deadline_] {
    pending->answered = true;
    pending->done(Error{ErrorCode::kTimeout, "write to the store: no answer from the disk within " +
                                                 std::to_string(std::chrono::ceil<std::chrono::milliseconds>(deadline).count()) + " ms"});
  });
  thread_->loop().post([store = store_, pending, write = std::move(write), answers = &answers_] {
    answers->post([pending, answers, result = write(*store)]() mutable {
      if (pending->answered) return;
      answers->cancel(pending->timer);
      pending->done(std::move(result));
    });
  });
}

void StoreThread::put_promise(Term promise, Done done) {
  run([promise](EpochStore& store) { return store.put_promise(promise); }, std::move(done));
}

void StoreThread::put_term(Term term, Done done) {
  run([term](EpochStore& store) { return store.put_term(term); }, std::move(done));
}

void StoreThread::put_holding(Term term, Done done) {
  run([term](EpochStore& store) { return store.put_holding(term); }, std::move(done));
}

void StoreThread::put_spoiled(CommittedEpoch through, Done done) {
  thread_->loop().post([store = store_, through, done = std::move(done)] { done(store->put_spoiled(through)); });
}

void StoreThread::put_orders(std::vector<std::byte> orders, Done done) {
  run([orders = std::move(orders)](EpochStore& store) { return store.put_orders(orders); }, std::move(done));
}

void StoreThread::put_end(std::string ended) {
  thread_->loop().post([store = store_, ended = std::move(ended)] {
    if (const auto put = store->put_end(ended); !put) log(Severity::kWarning, "guest's end not stored", {{"reason", put.error().text()}});
  });
}

void StoreThread::put_committed(CommittedEpoch committed) {
  {
    const std::lock_guard lock{latest_->mutex};
    const bool already_on_its_way = latest_->waiting.has_value();
    latest_->waiting = committed;
    if (already_on_its_way) return;
  }
  thread_->loop().post([store = store_, latest = latest_] {
    std::optional<CommittedEpoch> newest;
    {
      const std::lock_guard lock{latest->mutex};
      newest.swap(latest->waiting);
    }
    if (const auto put = store->put_committed(*newest); !put)
      log(Severity::kWarning, "committed epoch not stored", {{"reason", put.error().text()}});
  });
}

}  // namespace understudy
