// Moments for tests of what judges times.
#pragma once

#include <cstdint>

#include "net/base/clock.h"

namespace understudy::lab {

constexpr Instant at_ms(std::int64_t ms) { return Instant{Duration{ms * 1'000'000}}; }

}  // namespace understudy::lab
