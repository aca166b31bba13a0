#include "failover/daemon/timeline.h"

#include <algorithm>

#include "net/base/log.h"

namespace understudy {

void Timeline::record(std::string name, Instant at, Term term, std::string text) {
  const std::int64_t age_ns = (clock_.now() - at).count();
  log(Severity::kInfo, name, {{"term", term}, {"monotonic_ns", to_ns(at)}, {"what", text}});
  Status::Moment moment{std::move(name), to_ns(at), realtime_ns() - age_ns, term, std::move(text)};
  const std::lock_guard lock{mutex_};
  const auto place = std::ranges::upper_bound(moments_, moment.monotonic_ns, {}, &Status::Moment::monotonic_ns);
  moments_.insert(place, std::move(moment));
  if (moments_.size() > kMaxMoments) moments_.pop_front();
}

std::vector<Status::Moment> Timeline::moments() const {
  const std::lock_guard lock{mutex_};
  return {moments_.begin(), moments_.end()};
}

}  // namespace understudy
