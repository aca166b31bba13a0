// What a node did and why, for a person: events as lines, an explanation of the present state, and a replay's outcome. Pure but for the
// source.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "failover/daemon/flight_client.h"
#include "failover/daemon/operator.capnp.h"
#include "failover/flight_log.h"

namespace understudy {

// "2026-11-24 15:41:03.118  warning  secondary  term 2  detected: ...", in local time.
std::string event_as_text(const FlightEvent& event);
// One line of JSON: schema::EventLine.
std::string event_as_json(const FlightEvent& event);

// Why the node is in its state: what it says now (`status`; nullopt when the daemon does not answer), the events that led to its latest
// change of roles, and what was refused or went wrong since. `events` are all that are kept, oldest first.
std::string explain(std::optional<schema::Status::Reader> status, std::span<const FlightEvent> events);
std::string explain_as_json(std::optional<schema::Status::Reader> status, std::span<const FlightEvent> events);

struct ReplaySummary {
  std::uint64_t chunks = 0;
  std::uint64_t steps = 0;
  std::uint64_t decisions = 0;
  std::uint64_t other_versions = 0;  // chunks that other decision code recorded, which this one can't replay
  std::uint64_t missing = 0;         // chunks that were never stored
  std::int64_t from_realtime_ns = 0;
  std::int64_t to_realtime_ns = 0;
  std::vector<std::string> differences;
};

// Replays every chunk; damage is a difference. Errors: the source's.
Result<ReplaySummary> replay_all(FlightSource& source);
std::string replay_as_text(const ReplaySummary& summary);
std::string replay_as_json(const ReplaySummary& summary);

}  // namespace understudy
