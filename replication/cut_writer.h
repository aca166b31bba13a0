// The durable cut's store as the session's loop uses it: calls return at once, and are answered later on the same loop.
#pragma once

#include <functional>
#include <vector>

#include "replication/cut_store.h"

namespace understudy {

class CutWriter {
 public:
  using Done = std::function<void(Result<void>)>;
  virtual ~CutWriter() = default;

  // As CutStore's, carried out and answered in the order of these calls. A store that hangs never answers: the caller bounds what it hands
  // over, and watches the time.
  virtual void put_pages(CutPages pages, Done done) = 0;
  virtual void put_journal(CommittedEpoch at, std::vector<DiskWrite> writes, Done done) = 0;
  virtual void commit(StoredCut cut, Done done) = 0;
  virtual void trim(CommittedEpoch through, Done done) = 0;
  virtual void forget(Done done) = 0;

  // The node's own store: EpochStore::put_spoiled(). In no order with the others, and it does not wait for them.
  virtual void spoil(CommittedEpoch through, Done done) = 0;
};

}  // namespace understudy
