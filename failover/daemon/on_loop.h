// Runs a step on a loop's own thread and waits for its outcome: for building and taking down what a loop owns.
#pragma once

#include <memory>
#include <utility>

#include "net/base/event_loop.h"
#include "net/base/result.h"

namespace understudy {

inline constexpr Duration kLoopDeadline = std::chrono::seconds{30};

// kTimeout when the loop did not come to it; the step may still run later, so the process should end.
template <class Step>
Result<void> on_loop(EventLoop& loop, Step step) {
  const auto outcome = std::make_shared<Result<void>>();
  if (!loop.post_and_wait([outcome, step = std::move(step)]() mutable { *outcome = step(); }, kLoopDeadline))
    return Error{ErrorCode::kTimeout, "start or stop a part of the daemon: its thread did not answer within 30 s"};
  return *outcome;
}

}  // namespace understudy
