// Instants of CLOCK_REALTIME, in nanoseconds since 1970, as a person and a script read them.
#pragma once

#include <cstdint>
#include <string>

namespace understudy {

// "2026-11-24T15:41:03.118204Z"
std::string utc(std::int64_t realtime_ns);
// "2026-11-24 15:41:03.118", of this host's time zone.
std::string local(std::int64_t realtime_ns);

}  // namespace understudy
