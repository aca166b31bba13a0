// The witness as a node sees it: an Arbiter over ZeroMQ.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "failover/arbiter.h"
#include "net/base/event_loop.h"
#include "net/curve_key.h"
#include "net/refusals.h"
#include "net/zmq_context.h"

namespace understudy {

struct WitnessClientConfig {
  std::string endpoint;            // the witness's: "tcp://10.0.0.3:7500"
  std::optional<LinkKeys> keys{};  // this node's, and the witness's; without, anybody may answer
  PairId pair;
  NodeIncarnation self;                        // named as the sender; a proposal names its own proposer
  Duration timeout = std::chrono::seconds{1};  // of one call, by the loop's clock
  std::size_t max_outstanding = 16;            // calls
};

struct WitnessClientCounters {
  std::uint64_t calls = 0;
  std::uint64_t timeouts = 0;
  std::uint64_t late_answers = 0;  // after the timeout, or to an unknown call: dropped
  std::uint64_t malformed = 0;
};

class WitnessClient final : public Arbiter {
 public:
  // Connects in the background. On the loop's thread or before it runs; so is the destructor, after which no callback comes.
  static Result<std::unique_ptr<WitnessClient>> create(EventLoop& loop, std::shared_ptr<ZmqContext> context,
                                                       const WitnessClientConfig& config);
  ~WitnessClient() override;

  // Every call's callback comes exactly once while the client lives, never from within the call. Errors: kTimeout; kUnavailable when there
  // is no connection (nothing was sent); kBusy when max_outstanding calls wait; kUnsupportedVersion; kFailed with the witness's words (its
  // store failed). After kTimeout the proposal may have been granted, or may be yet: repeat it under the same request id.
  void read(Callback done) override;
  void propose(const Proposal& proposal, Callback done) override;
  // An operator's request; see decide_seed().
  void seed(Term term, NodeIncarnation holder, Callback done);

  bool connected() const;
  const WitnessClientCounters& counters() const;
  const Refusals& refusals() const;

 private:
  class Impl;
  explicit WitnessClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace understudy
