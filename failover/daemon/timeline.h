// What happened around the latest fault or command, in order and with times: for the status, and for whoever measures a takeover.
#pragma once

#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "failover/daemon/status.h"
#include "net/base/clock.h"
#include "net/base/ids.h"

namespace understudy {

// Any thread.
class Timeline {
 public:
  static constexpr std::size_t kMaxMoments = 64;  // then the oldest go

  explicit Timeline(const Clock& clock) : clock_{clock} {}

  // Also a line in the log. `at` is of this clock, not later than now.
  void record(std::string name, Instant at, Term term, std::string text = {});
  void record(std::string name, Term term, std::string text = {}) { record(std::move(name), clock_.now(), term, std::move(text)); }
  std::vector<Status::Moment> moments() const;

 private:
  const Clock& clock_;
  mutable std::mutex mutex_;
  std::deque<Status::Moment> moments_;  // guarded by mutex_; ascending in time
};

}  // namespace understudy
