#include "failover/daemon/cut_thread.h"

#include <mutex>
#include <utility>

namespace understudy {

// The way back, which a stuck call may take when the loop is gone.
struct CutThread::Answers {
  std::mutex mutex;
  EventLoop* loop;    // guarded by mutex; nullptr: nobody listens any more
  bool alive = true;  // the loop's
};

Result<std::unique_ptr<CutThread>> CutThread::start(std::unique_ptr<CutStore> store, EventLoop& answers, const Clock& clock,
                                                    std::function<void(CommittedEpoch, Done)> spoil, std::function<void()> answered) {
  std::unique_ptr<CutThread> result{new CutThread{std::move(store), answers, std::move(spoil), std::move(answered)}};
  US_ASSIGN(result->thread_, LoopThread::start(clock, "cut"));
  return result;
}

CutThread::CutThread(std::unique_ptr<CutStore> store, EventLoop& answers, std::function<void(CommittedEpoch, Done)> spoil,
                     std::function<void()> answered)
    : answers_{std::make_shared<Answers>()}, store_{std::move(store)}, spoil_{std::move(spoil)}, answered_{std::move(answered)} {
  answers_->loop = &answers;
}

CutThread::~CutThread() {
  const std::lock_guard lock{answers_->mutex};
  answers_->loop = nullptr;
  answers_->alive = false;
}

CutWriter::Done CutThread::on_loop(Done done) const {
  return [answers = answers_, done = std::move(done), answered = answered_](const Result<void>& result) {
    const std::lock_guard lock{answers->mutex};
    if (!answers->loop) return;
    answers->loop->post([answers, done, answered, result] {
      if (!answers->alive) return;
      done(result);
      answered();
    });
  };
}

void CutThread::run(std::function<Result<void>(CutStore&)> call, Done done) {
  thread_->loop().post([store = store_, call = std::move(call), done = on_loop(std::move(done))] { done(call(*store)); });
}

void CutThread::put_pages(CutPages pages, Done done) {
  run([pages = std::make_shared<const CutPages>(std::move(pages))](CutStore& store) { return store.put_pages(*pages); }, std::move(done));
}

void CutThread::put_journal(CommittedEpoch at, std::vector<DiskWrite> writes, Done done) {
  run([at, writes = std::move(writes)](CutStore& store) { return store.put_journal(at, writes); }, std::move(done));
}

void CutThread::commit(StoredCut cut, Done done) {
  run([cut = std::move(cut)](CutStore& store) { return store.commit(cut); }, std::move(done));
}

void CutThread::trim(CommittedEpoch through, Done done) {
  run([through](CutStore& store) { return store.trim(through); }, std::move(done));
}

void CutThread::forget(Done done) {
  run([](CutStore& store) { return store.forget(); }, std::move(done));
}

void CutThread::spoil(CommittedEpoch through, Done done) { spoil_(through, on_loop(std::move(done))); }

}  // namespace understudy
