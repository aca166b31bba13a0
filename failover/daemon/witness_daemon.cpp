#include "failover/daemon/witness_daemon.h"

#include "failover/daemon/on_loop.h"
#include "failover/witness_server.h"
#include "net/base/log.h"
#include "net/zmq_context.h"

namespace understudy {

namespace {

class Running final : public WitnessDaemon {
 public:
  static Result<std::unique_ptr<Running>> start(const WitnessOptions& options, const Clock& clock) {
    auto running = std::make_unique<Running>();
    US_ASSIGN(running->store_, WitnessStore::open(options.store, options.open));
    US_ASSIGN(running->thread_, LoopThread::start(clock, "witness"));
    US_TRY(on_loop(running->thread_->loop(), [&]() -> Result<void> {
      US_ASSIGN(running->server_, WitnessServer::create(running->thread_->loop(), ZmqContext::create(), *running->store_, options.listen));
      return {};
    }));
    log(Severity::kInfo, "witness listens", {{"endpoint", running->server_->endpoint()}, {"store", options.store.string()}});
    return running;
  }
  ~Running() override {
    if (thread_) static_cast<void>(on_loop(thread_->loop(), [&]() -> Result<void> { return server_.reset(), Result<void>{}; }));
  }

 private:
  std::unique_ptr<WitnessStore> store_;
  std::unique_ptr<WitnessServer> server_;
  std::unique_ptr<LoopThread> thread_;
};

}  // namespace

Result<std::unique_ptr<WitnessDaemon>> start_witness(const WitnessOptions& options, const Clock& clock) {
  US_ASSIGN(auto running, Running::start(options, clock));
  return std::unique_ptr<WitnessDaemon>{std::move(running)};
}

}  // namespace understudy
