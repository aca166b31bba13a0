// Words for a guest's end.
#pragma once

#include <string>

namespace understudy {

// "the guest panicked at 2026-01-31 12:00:00 UTC": this host's time of day, now.
std::string at_time_of_day(const std::string& what);

}  // namespace understudy
