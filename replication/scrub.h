// Which pages are compared with the peer's at which epoch's end, and what came of it. Pure.
//
// Pass after pass over all of memory: slowly all the time (the scrub), or once at speed, because an operator asks (a verification). A pass
// names the epochs at whose ends it looked: each page was compared at one of them, while the guest ran.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "net/base/clock.h"
#include "net/base/ids.h"
#include "net/base/result.h"
#include "replication/epoch_store.h"

namespace understudy {

struct ScrubLimits {
  std::uint64_t pages_per_second = 256;      // of the scrub; 0: none
  std::size_t verify_pages_per_epoch = 512;  // of a verification, hashed in the guest's pause; at most kMaxCheckedPages
  std::size_t max_unanswered = 8;            // runs; then the next waits
};

// One pass, done.
struct ScrubReport {
  CommittedEpoch from, to;  // the first and the last epoch at whose end pages were compared
  std::uint64_t pages = 0;
  std::uint64_t differing = 0;        // pages that were not the same, and are sent again
  std::vector<PageIndex> examples{};  // the first of them
  bool state_differed = false;        // the machine's state, once
};

struct ScrubStats {
  std::uint64_t passes = 0;
  std::uint64_t pages = 0;      // compared, over all passes
  std::uint64_t differing = 0;  // of them
  std::uint64_t position = 0;   // of the pass under way: the next page
};

// Loop-owned.
class Scrub {
 public:
  static constexpr std::size_t kMaxExamples = 16;
  struct Run {
    PageIndex first;
    std::size_t count = 0;
  };

  Scrub(ScrubLimits limits, std::size_t page_count) : limits_{limits}, page_count_{page_count} {}

  // A pass from the first page on, at speed; one that is under way so begins anew.
  void verify();
  bool verifying() const { return verifying_; }
  void end_verification() { verifying_ = false; }

  // What to compare at the end of the epoch that ends now; a count of 0: nothing. Either sent() or not, the next call says what is due
  // then.
  Run due(Instant now);
  void sent(Run run, CommittedEpoch at, Instant now);
  // The peer compared the oldest run that was sent. The report when that ended a pass. kCorrupt: it is not that run, or names other pages.
  Result<std::optional<ScrubReport>> answered(PageIndex first, std::size_t count, std::span<const PageIndex> differing, bool state_differs);
  // The session is over: what was not answered is compared again.
  void interrupted();
  // The peer's image is a new one: so is the pass.
  void restart();

  const ScrubStats& stats() const { return stats_; }

 private:
  struct Sent {
    Run run;
    CommittedEpoch at;
    bool of_pass = true;  // of the one under way; else of one that was given up
  };

  const ScrubLimits limits_;
  const std::size_t page_count_;
  std::uint64_t next_ = 0;  // page; page_count_: all of the pass is sent
  bool verifying_ = false;
  std::optional<Instant> since_;  // the scrub's pace counts from here
  std::deque<Sent> unanswered_;
  ScrubReport pass_;
  ScrubStats stats_;
};

}  // namespace understudy
