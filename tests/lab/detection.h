// What was detected in a run: the verdict that the other host came to, whether it is the right one and in time, and its row in the table
// of `tests/lab/detect`. Pure.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "net/base/clock.h"
#include "tests/lab/node_status.h"

namespace understudy::lab {

struct Outcome;

struct FoundVerdict {
  Instant at;
  std::string condition;  // "failed", "stalled", "silent"
  std::string path;       // the first that is named as failed; empty: none
  std::string text;       // all that it says
};

// The first verdict since then by which a node finds its peer unfit; nullopt: there is none.
std::optional<FoundVerdict> verdict_on_peer(std::span<const NodeEvent> events, Instant since);

// What speaks against the detection in a run, a sentence each; being late does not.
std::vector<std::string> shortcomings_of_detection(const Outcome& outcome);
// Verdict or first packet came later than the fault's aim.
bool over_the_aim(const Outcome& outcome);

// The run's row: one line of JSON, and one of the table, both without a newline.
std::string detection_as_json(const Outcome& outcome);
std::string detection_as_text(const Outcome& outcome);
std::string detection_heading();

}  // namespace understudy::lab
