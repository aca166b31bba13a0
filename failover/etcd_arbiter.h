// etcd as a node sees it: an Arbiter whose requests wait on a thread of their own, so that a hung etcd never holds the node's loop.
#pragma once

#include <cstdint>
#include <memory>

#include "failover/arbiter.h"
#include "failover/etcd_store.h"
#include "net/base/event_loop.h"

namespace understudy {

class EtcdArbiter final : public Arbiter {
 public:
  static constexpr std::size_t kMaxOutstanding = 16;  // calls

  // On the loop's thread or before it runs; so is the destructor, after which no callback comes, and which waits at most for the member
  // that is being asked.
  static std::unique_ptr<EtcdArbiter> create(EventLoop& loop, std::unique_ptr<EtcdStore> store);
  ~EtcdArbiter() override;

  // Every call's callback comes exactly once while the arbiter lives, never from within the call, and no later than two times the store's
  // patience(). Errors: those of EtcdStore::serve(), and kBusy when kMaxOutstanding calls wait.
  void read(Callback done) override;
  void propose(const Proposal& proposal, Callback done) override;

 private:
  class Impl;
  explicit EtcdArbiter(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace understudy
