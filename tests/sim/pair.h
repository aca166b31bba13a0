// One whole simulated run: two hosts, a witness, a network, a scenario of faults, and the judgement.
#pragma once

#include <chrono>
#include <string>

#include "net/base/clock.h"
#include "tests/sim/options.h"

namespace understudy::sim {

// What clients may hear nothing for without taking it for an interruption: a few epochs.
inline constexpr Duration kNoticed = std::chrono::milliseconds{150};

struct Outcome {
  bool ok = true;
  std::string rule;  // which was broken
  std::string what;
  std::size_t delivered = 0;
  std::size_t takeovers = 0;
  std::size_t terms = 0;
  std::uint64_t digest = 0;       // of all that clients saw, and when
  std::size_t faults = 0;         // kEndurance: struck and survived
  std::size_t interruptions = 0;  // kEndurance: after which clients heard nothing for longer than kNoticed
  Duration downtime{};            // kEndurance: of all interruptions together
  Duration lived{};               // kEndurance: in which all of that happened
  std::uint64_t replayed = 0;     // steps, where nodes are recorded
  bool lost_by_design = false;    // several faults destroyed every image that may run: nobody runs, as it must be
};

// Deterministic: equal options give an equal outcome.
Outcome run(const Options& options);

}  // namespace understudy::sim
