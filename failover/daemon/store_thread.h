// The store behind a thread of its own: a disk that hangs delays an answer, never the node's loop.
#pragma once

#include <functional>
#include <memory>

#include "net/base/event_loop.h"
#include "net/base/result.h"
#include "replication/epoch_store.h"

namespace understudy {

// Owned by one loop, on which the answers come; the store is used by the store thread alone.
class StoreThread {
 public:
  using Done = std::function<void(Result<void>)>;

  // `answers` outlives the result. An answer that took longer than `deadline` is kTimeout (the write may still happen: terms and promises
  // only rise, so a late one does no harm).
  static Result<std::unique_ptr<StoreThread>> start(std::unique_ptr<EpochStore> store, EventLoop& answers, const Clock& clock,
                                                    Duration deadline);

  void put_promise(Term promise, Done done);
  void put_term(Term term, Done done);
  void put_holding(Term term, Done done);
  // Any thread; answered on the store's, without a deadline.
  void put_spoiled(CommittedEpoch through, Done done);
  // `orders`: orders_codec.h.
  void put_orders(std::vector<std::byte> orders, Done done);
  // In its turn; a failure is logged.
  void put_end(std::string ended);
  // Any thread. Written at some time, newest wins: the store thread is never more than one write behind.
  void put_committed(CommittedEpoch committed);

 private:
  struct Pending;
  struct Latest;
  StoreThread(std::unique_ptr<EpochStore> store, EventLoop& answers, Duration deadline);
  void run(std::function<Result<void>(EpochStore&)> write, Done done);

  EventLoop& answers_;
  const Duration deadline_;
  const std::shared_ptr<EpochStore> store_;  // shared with messages that a stuck disk may keep alive
  const std::shared_ptr<Latest> latest_;
  std::unique_ptr<LoopThread> thread_;
};

}  // namespace understudy
