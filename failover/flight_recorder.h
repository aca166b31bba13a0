// The flight recorder: every input and decision of a node, kept so that what it did can be explained, and done again.
//
// It steps the node itself, so nothing that the node sees can be left out. What it gathers goes to a sink in chunks, each of which begins
// with the node as it was; a sink that can't take one loses that one, and the next says so. Stepping never waits and writes nothing itself.
//
// Threading: owned by the node's loop.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "failover/flight_log.h"
#include "failover/node.h"

namespace understudy {

class FlightSink {
 public:
  virtual ~FlightSink() = default;
  // Of the chunks of one serial the latest counts: it is offered again when it has grown. False: it can't be taken now.
  virtual bool offer(const FlightChunk& chunk) = 0;
  virtual void tell(FlightEvent event) = 0;
};

struct FlightLimits {
  std::size_t chunk_bytes = std::size_t{256} << 10;  // of steps; a chunk ends when it has more, at most kMaxFlightBody in all
  Duration chunk_length = std::chrono::minutes{5};
  Duration offer_every = std::chrono::seconds{5};        // a growing chunk
  Duration offer_soon = std::chrono::milliseconds{200};  // one with a new event
};

class FlightRecorder {
 public:
  // `first_chunk`, `first_event`: the serials to go on from. `realtime_ns`: now, since 1970.
  FlightRecorder(FlightSink& sink, std::uint64_t first_chunk, std::uint64_t first_event, std::function<std::int64_t()> realtime_ns,
                 FlightLimits limits = {});

  // node.step(now, input), recorded.
  std::vector<Action> step(Node& node, Instant now, const Input& input);
  // Offers what there is: at the end.
  void flush();

 private:
  void begin_chunk(const Node& node, Instant now);
  void offer();

  FlightSink& sink_;
  const std::function<std::int64_t()> realtime_ns_;
  const FlightLimits limits_;
  FlightChunk chunk_;
  bool open_ = false;
  std::uint64_t next_event_;
  std::uint64_t missing_ = 0;
  Instant stepped_at_;  // the latest step of the chunk
  Instant offer_at_;
  std::vector<std::byte> scratch_;
  NodeStatus seen_;  // before the step at hand
};

// The digest of what came of a step; 0 for nothing. `scratch` is overwritten.
std::uint64_t digest_of(std::span<const Action> actions, std::vector<std::byte>& scratch);

// What a step is worth telling: what the node noted, commands and their answers, changes of role and verdict. Serials are left 0.
std::vector<FlightEvent> events_of(const NodeStatus& before, const Input& input, std::span<const Action> actions, const NodeStatus& after,
                                   Instant now, std::int64_t realtime_ns);

}  // namespace understudy
