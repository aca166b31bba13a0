#include "tests/sim/flight_check.h"

#include "failover/flight_replay.h"

namespace understudy::sim {

bool FlightCheck::offer(const FlightChunk& chunk) {
  const auto stored = decode_flight_chunk(encode_flight_chunk(chunk));
  if (!stored) {
    differs_(stored.error().text());
    return true;
  }
  const auto report = replay(*stored);
  if (!report)
    differs_(report.error().text());
  else if (report->difference)
    differs_(*report->difference);
  else
    steps_replayed_ += report->steps;
  return true;
}

}  // namespace understudy::sim
