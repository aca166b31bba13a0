// A flight recorder whose every chunk is replayed at once: what a node did must come out again, from wherever a chunk begins.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "failover/flight_recorder.h"

namespace understudy::sim {

class FlightCheck final : public FlightSink {
 public:
  // `differs` is told what came out otherwise.
  explicit FlightCheck(std::function<void(const std::string&)> differs) : differs_{std::move(differs)} {}

  bool offer(const FlightChunk& chunk) override;
  void tell(FlightEvent event) override { ++events_told_, static_cast<void>(event); }

  std::uint64_t steps_replayed() const { return steps_replayed_; }
  std::uint64_t events_told() const { return events_told_; }

 private:
  std::function<void(const std::string&)> differs_;
  std::uint64_t steps_replayed_ = 0;
  std::uint64_t events_told_ = 0;
};

}  // namespace understudy::sim
