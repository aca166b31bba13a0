#include "replication/disk_window.h"

#include <algorithm>
#include <utility>

#include "net/base/check.h"

namespace understudy {

DiskWindow::DiskWindow(unsigned slots) : entries_(slots) {
  US_CHECK(slots > 0);
  order_.reserve(slots);
  free_.reserve(slots);
  for (unsigned slot = slots; slot > 0; --slot) free_.push_back(slot - 1);
}

void DiskWindow::add(DiskTask task, Instant now) {
  US_CHECK(!full());
  const unsigned slot = free_.back();
  free_.pop_back();
  unsigned waits_for = 0;
  for (const unsigned earlier : order_)
    if (must_wait(task, entries_[earlier].task)) ++waits_for;
  entries_[slot] = Entry{.task = std::move(task),
                         .submitted_at = now,
                         .started_at = {},
                         .used = true,
                         .at_file = false,
                         .failed = false,
                         .cancelled = false,
                         .retry_at = {},
                         .waits_for = waits_for};
  order_.push_back(slot);
}

DiskTask DiskWindow::remove(unsigned slot) {
  const auto place = std::ranges::find(order_, slot);
  US_CHECK(place != order_.end());
  DiskTask task = std::move(entries_[slot].task);
  for (auto later = place + 1; later != order_.end(); ++later)
    if (must_wait(entries_[*later].task, task)) --entries_[*later].waits_for;
  order_.erase(place);
  entries_[slot] = Entry{};
  free_.push_back(slot);
  return task;
}

std::optional<Instant> DiskWindow::next_retry() const {
  std::optional<Instant> first;
  for (const unsigned slot : order_) {
    const Entry& entry = entries_[slot];
    if (entry.failed && !entry.at_file && (!first || entry.retry_at < *first)) first = entry.retry_at;
  }
  return first;
}

}  // namespace understudy
