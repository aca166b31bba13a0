#include "failover/etcd_arbiter.h"

#include <condition_variable>
#include <csignal>
#include <deque>
#include <mutex>
#include <pthread.h>
#include <thread>
#include <unordered_map>
#include <utility>

namespace understudy {

class EtcdArbiter::Impl {
 public:
  Impl(EventLoop& loop, std::unique_ptr<EtcdStore> store) : loop_{loop}, store_{std::move(store)}, thread_{[this] { work(); }} {}
  ~Impl() {
    {
      const std::lock_guard lock{mutex_};
      stopping_ = true;
    }
    wake_.notify_one();
    store_->cut();
    thread_.join();
  }

  void call(EtcdStore::Request request, Callback done) {
    if (outstanding_.size() >= kMaxOutstanding) {
      // Never from within the call: callers need not expect their own callback in the middle of a step.
      loop_.post([alive = std::weak_ptr{alive_}, done = std::move(done)] {
        if (!alive.expired()) done(Error{ErrorCode::kBusy, "etcd: " + std::to_string(kMaxOutstanding) + " calls wait already"});
      });
      return;
    }
    const auto number = ++last_call_;
    outstanding_.emplace(number, std::move(done));
    {
      const std::lock_guard lock{mutex_};
      waiting_.push_back({number, std::move(request), loop_.clock().now()});
    }
    wake_.notify_one();
  }

 private:
  struct Job {
    std::uint64_t call;
    EtcdStore::Request request;
    Instant called;
  };

  void work() {
    ::pthread_setname_np(::pthread_self(), "etcd");
    // A connection that is gone is an error where it is written to, not the end of the process.
    sigset_t pipe;
    ::sigemptyset(&pipe);
    ::sigaddset(&pipe, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
    while (const auto job = next()) {
      loop_.post([this, alive = std::weak_ptr{alive_}, call = job->call, answer = store_->serve(job->request, job->called)]() mutable {
        if (!alive.expired()) finish(call, std::move(answer));
      });
    }
  }

  std::optional<Job> next() {
    std::unique_lock lock{mutex_};
    wake_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return std::nullopt;
    Job job = std::move(waiting_.front());
    waiting_.pop_front();
    return job;
  }

  // Callbacks may call again: the call is forgotten before.
  void finish(std::uint64_t call, Result<ArbiterAnswer> answer) {
    const auto found = outstanding_.find(call);
    const auto done = std::move(found->second);
    outstanding_.erase(found);
    done(std::move(answer));
  }

  EventLoop& loop_;
  const std::unique_ptr<EtcdStore> store_;  // the thread's, but for cut() and patience()
  std::unordered_map<std::uint64_t, Callback> outstanding_;
  std::uint64_t last_call_ = 0;
  const std::shared_ptr<char> alive_ = std::make_shared<char>();
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> waiting_;  // guarded by mutex_
  bool stopping_ = false;    // guarded by mutex_
  std::thread thread_;       // uses all of the above
};

std::unique_ptr<EtcdArbiter> EtcdArbiter::create(EventLoop& loop, std::unique_ptr<EtcdStore> store) {
  return std::unique_ptr<EtcdArbiter>{new EtcdArbiter{std::make_unique<Impl>(loop, std::move(store))}};
}

EtcdArbiter::EtcdArbiter(std::unique_ptr<Impl> impl) : impl_{std::move(impl)} {}
EtcdArbiter::~EtcdArbiter() = default;
void EtcdArbiter::read(Callback done) { impl_->call(WitnessRead{}, std::move(done)); }
void EtcdArbiter::propose(const Proposal& proposal, Callback done) { impl_->call(proposal, std::move(done)); }

}  // namespace understudy
