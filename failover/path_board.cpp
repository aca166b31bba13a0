#include "failover/path_board.h"

#include <algorithm>
#include <utility>

namespace understudy {
namespace {

// Unknown is worse than degraded: what was never looked at may be anything.
int badness(const ProbeReport& report) {
  switch (report.health) {
    case Health::kHealthy:
      return 0;
    case Health::kDegraded:
      return report.suspected ? 3 : 1;
    case Health::kUnknown:
      return 2;
    case Health::kFailed:
      return 4;
  }
  return 4;
}

}  // namespace

PathBoard::Entry* PathBoard::find(const std::string& probe, ProbePath path) {
  const auto found = std::ranges::find_if(entries_, [&](const Entry& entry) { return entry.report.path == path && entry.probe == probe; });
  return found == entries_.end() ? nullptr : &*found;
}

void PathBoard::expect(const std::string& probe, ProbePath path, bool proves, Instant now) {
  if (find(probe, path)) return;
  entries_.push_back({probe, proves, {.path = path, .health = Health::kUnknown, .started_at = now, .completed_at = now, .text = {}}});
}

void PathBoard::put(const std::string& probe, ProbeReport report) {
  Entry* entry = find(probe, report.path);
  if (!entry) entry = &entries_.emplace_back(Entry{probe, false, {}});
  entry->report = std::move(report);
}

ProbeReport PathBoard::path(ProbePath path) const {
  ProbeReport joined{.path = path};
  int worst = -1;
  bool proven = false;
  for (const Entry& entry : entries_) {
    const ProbeReport& report = entry.report;
    if (report.path != path) continue;
    const int bad = badness(report);
    if (bad > worst) {
      worst = bad;
      joined.health = report.health;
      joined.suspected = report.suspected;
      joined.text.clear();
    }
    // Of what is well, the one that proves it speaks.
    if (bad == worst && !report.text.empty() && (bad > 0 || entry.proves)) joined.text += (joined.text.empty() ? "" : "; ") + report.text;
    joined.beyond |= report.beyond;
    if (entry.proves && !proven) {
      proven = true;
      joined.started_at = report.started_at;
      joined.completed_at = report.completed_at;
    } else if (entry.proves == proven) {
      joined.started_at = proven ? std::min(joined.started_at, report.started_at) : std::max(joined.started_at, report.started_at);
      joined.completed_at =
          proven ? std::min(joined.completed_at, report.completed_at) : std::max(joined.completed_at, report.completed_at);
    }
  }
  // A suspicion that one probe has does not hang on the echo of another.
  if (joined.suspected) {
    joined.beyond = true;
    for (const Entry& entry : entries_)
      if (entry.report.path == path && entry.report.suspected) joined.beyond &= entry.report.beyond;
  }
  return joined;
}

}  // namespace understudy
