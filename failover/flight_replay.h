// Does again what a node did, from a flight recorder's chunk, and says whether it came out the same. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "failover/flight_log.h"

namespace understudy {

struct ReplayReport {
  std::uint64_t steps = 0;
  Duration length{};                      // from the first step to the last
  std::uint64_t decisions = 0;            // steps of which something came
  std::optional<std::string> difference;  // the first step that came out otherwise, and how
};

// kUnsupportedVersion: recorded by other decision code (both fingerprints named). kCorrupt: damaged. A step that comes out otherwise is no
// error but the report's; the replay ends there. `told` may be empty: it is shown the events, with times of day.
Result<ReplayReport> replay(const FlightChunk& chunk, const std::function<void(const FlightEvent&)>& told = {});

}  // namespace understudy
