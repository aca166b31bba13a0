// The durable cut's store behind a thread of its own: a disk that hangs delays an answer, never the session's loop.
#pragma once

#include <functional>
#include <memory>

#include "net/base/event_loop.h"
#include "net/base/result.h"
#include "replication/cut_writer.h"

namespace understudy {

// Owned by the loop on which the answers come; the store is used by the cut's thread alone.
class CutThread final : public CutWriter {
 public:
  // `spoil` answers on any thread, at any time. `answered` is called on the loop after each answer. `answers` outlives the result; nothing
  // is answered once that is gone.
  static Result<std::unique_ptr<CutThread>> start(std::unique_ptr<CutStore> store, EventLoop& answers, const Clock& clock,
                                                  std::function<void(CommittedEpoch, Done)> spoil, std::function<void()> answered);
  ~CutThread() override;

  void put_pages(CutPages pages, Done done) override;
  void put_journal(CommittedEpoch at, std::vector<DiskWrite> writes, Done done) override;
  void commit(StoredCut cut, Done done) override;
  void trim(CommittedEpoch through, Done done) override;
  void forget(Done done) override;
  void spoil(CommittedEpoch through, Done done) override;

 private:
  CutThread(std::unique_ptr<CutStore> store, EventLoop& answers, std::function<void(CommittedEpoch, Done)> spoil,
            std::function<void()> answered);
  void run(std::function<Result<void>(CutStore&)> call, Done done);
  Done on_loop(Done done) const;

  struct Answers;
  const std::shared_ptr<Answers> answers_;
  const std::shared_ptr<CutStore> store_;  // shared with calls that a stuck disk may keep alive
  const std::function<void(CommittedEpoch, Done)> spoil_;
  const std::function<void()> answered_;
  std::unique_ptr<LoopThread> thread_;
};

}  // namespace understudy
