// The witness on the network: answers the nodes of many pairs over ZeroMQ, each grant synced to disk before it is told.
//
// Loop-owned. The store blocks the loop for a sync's length: a witness does nothing else, and requests wait in a bounded queue.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "failover/witness_store.h"
#include "net/base/event_loop.h"
#include "net/curve_key.h"
#include "net/refusals.h"
#include "net/zmq_context.h"

namespace understudy {

struct WitnessCounters {
  std::uint64_t reads = 0;
  std::uint64_t grants = 0;
  std::uint64_t refusals = 0;
  std::uint64_t seeds = 0;
  std::uint64_t malformed = 0;       // dropped, or answered where the sender could understand it
  std::uint64_t store_failures = 0;  // requests not answered since the store failed
};

class WitnessServer {
 public:
  // Binds `endpoint` ("tcp://10.0.0.3:7500", "tcp://127.0.0.1:*"). On the loop's thread or before it runs; so is the destructor.
  // With `keys`, only nodes with an admitted key are heard; without, anybody. `store` and `loop` outlive the server. kInvalid and kFailed
  // name the endpoint.
  static Result<std::unique_ptr<WitnessServer>> create(EventLoop& loop, std::shared_ptr<ZmqContext> context, WitnessStore& store,
                                                       const std::string& endpoint, const std::optional<ServiceKeys>& keys);
  ~WitnessServer();

  const std::string& endpoint() const;  // with the real port
  const WitnessCounters& counters() const;
  const Refusals& refusals() const;

 private:
  class Impl;
  explicit WitnessServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace understudy
