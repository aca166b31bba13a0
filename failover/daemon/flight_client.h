// Where `understudy` gets a flight recorder's log from: the living daemon, or the files of a dead one. Blocks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "failover/flight_log.h"
#include "net/base/result.h"

namespace understudy {

class FlightSource {
 public:
  virtual ~FlightSource() = default;
  // Of serial `from` and above, oldest first, as many as come at once; empty: there are none.
  virtual Result<std::vector<FlightEvent>> events(std::uint64_t from) = 0;
  virtual Result<std::optional<FlightChunk>> chunk(std::uint64_t from) = 0;
};

std::unique_ptr<FlightSource> flight_of_daemon(std::filesystem::path socket);
// `state`: the daemon's [state] dir. kUnavailable while the daemon runs.
Result<std::unique_ptr<FlightSource>> flight_of_files(const std::filesystem::path& state);

// All that are kept.
Result<std::vector<FlightEvent>> all_events(FlightSource& source);

}  // namespace understudy
