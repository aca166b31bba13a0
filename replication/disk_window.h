// The disk tasks that may be at the file at once, and which of them have to wait for others.
//
// Invariant: a task is ready only when nothing before it that it must wait for is left in the window; so whatever touches the same blocks
// takes effect in the order of submission, and everything else in any.
//
// Pure: no thread, lock or file. All room is allocated at the start.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "net/base/clock.h"
#include "replication/disk_task.h"

namespace understudy {

class DiskWindow {
 public:
  struct Entry {
    DiskTask task;
    Instant submitted_at{};
    Instant started_at{};  // the latest attempt
    bool used = false;
    bool at_file = false;
    bool failed = false;     // its latest attempt
    bool cancelled = false;  // at the file, and nobody wants it any more
    Instant retry_at{};
    unsigned waits_for = 0;  // so many before it
  };

  explicit DiskWindow(unsigned slots);

  bool full() const { return order_.size() == entries_.size(); }
  std::size_t size() const { return order_.size(); }
  Entry& at(unsigned slot) { return entries_[slot]; }
  const Entry& at(unsigned slot) const { return entries_[slot]; }
  // Slots in the order of submission.
  std::span<const unsigned> order() const { return order_; }

  // While !full(). Tasks are added in the order of submission.
  void add(DiskTask task, Instant now);
  // Takes the task out; what waited for it may be ready now.
  DiskTask remove(unsigned slot);
  bool ready(const Entry& entry, Instant now) const {
    return entry.used && !entry.at_file && entry.waits_for == 0 && !entry.cancelled && now >= entry.retry_at;
  }
  // When the first failed task is due again.
  std::optional<Instant> next_retry() const;

 private:
  std::vector<Entry> entries_;
  std::vector<unsigned> order_;
  std::vector<unsigned> free_;
};

}  // namespace understudy
