// How long tests wait for what happens at once.
#pragma once

#include <chrono>

#include "net/base/clock.h"

namespace understudy {

// Only a hang takes so long, however busy the machine is.
inline constexpr Duration kLong = std::chrono::seconds{30};

}  // namespace understudy
