// The outcome in words for a person, and as one JSON object for scripts.
#pragma once

#include <string>

#include "tests/lab/outcome.h"

namespace understudy::lab {

std::string report_as_text(const Outcome& outcome);
std::string report_as_json(const Outcome& outcome);

}  // namespace understudy::lab
