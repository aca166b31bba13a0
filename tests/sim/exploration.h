// Many runs, several at once, and what they come to.
#pragma once

#include <cstdint>
#include <functional>

#include "tests/sim/pair.h"

namespace understudy::sim {

struct Totals {
  std::uint64_t runs = 0;
  std::uint64_t failed = 0;
  std::uint64_t without_survivor = 0;
  std::uint64_t takeovers = 0;
  std::uint64_t terms = 0;
  std::uint64_t delivered = 0;
  std::uint64_t faults = 0;  // this and what follows: of kEndurance, as in Outcome
  std::uint64_t interruptions = 0;
  Duration downtime{};
  Duration lived{};
};

// Runs `count` seeds from `from` on, otherwise as `options` say. `failed` is told of each failure, one at a time.
Totals explore(const Options& options, std::uint64_t from, std::uint64_t count, unsigned jobs,
               const std::function<void(const Options&, const Outcome&)>& failed);

}  // namespace understudy::sim
