#include "replication/scrub.h"

#include <algorithm>
#include <string>
#include <utility>

#include "checkpoint/page_check.h"

namespace understudy {

void Scrub::verify() {
  verifying_ = true;
  restart();
}

void Scrub::restart() {
  for (Sent& sent : unanswered_) sent.of_pass = false;
  next_ = 0;
  since_.reset();
  pass_ = {};
}

void Scrub::interrupted() {
  if (const auto first = std::ranges::find(unanswered_, true, &Sent::of_pass); first != unanswered_.end()) next_ = first->run.first.raw();
  unanswered_.clear();
  since_.reset();
}

Scrub::Run Scrub::due(Instant now) {
  const Run none{PageIndex{next_}, 0};
  if (next_ >= page_count_ || unanswered_.size() >= limits_.max_unanswered) return none;
  std::uint64_t count = limits_.verify_pages_per_epoch;
  if (!verifying_) {
    if (limits_.pages_per_second == 0) return none;
    if (!since_) since_ = now;
    // After a long wait there is no hurry either.
    const Duration waited = std::min<Duration>(now - *since_, std::chrono::milliseconds{200});
    count = static_cast<std::uint64_t>(static_cast<double>(limits_.pages_per_second) * to_ms(waited) / 1000);
  }
  return {PageIndex{next_}, static_cast<std::size_t>(std::min<std::uint64_t>({count, page_count_ - next_, kMaxCheckedPages}))};
}

void Scrub::sent(Run run, CommittedEpoch at, Instant now) {
  next_ += run.count;
  since_ = now;
  stats_.position = next_;
  unanswered_.push_back({run, at});
}

Result<std::optional<ScrubReport>> Scrub::answered(PageIndex first, std::size_t count, std::span<const PageIndex> differing,
                                                   bool state_differs) {
  const auto is_of = [&](PageIndex page) { return page >= first && page.raw() - first.raw() < count; };
  if (unanswered_.empty() || unanswered_.front().run.first != first || unanswered_.front().run.count != count ||
      !std::ranges::all_of(differing, is_of))
    return Error{ErrorCode::kCorrupt, "pages " + std::to_string(first.raw()) + " to " + std::to_string(first.raw() + count) +
                                          " were compared, which nobody asked for"};
  const auto [run, at, of_pass] = unanswered_.front();
  unanswered_.pop_front();
  stats_.pages += count;
  stats_.differing += differing.size();
  if (!of_pass) return std::optional<ScrubReport>{};
  if (pass_.pages == 0) pass_.from = at;
  pass_.to = at;
  pass_.pages += count;
  pass_.differing += differing.size();
  for (const PageIndex page : differing)
    if (pass_.examples.size() < kMaxExamples) pass_.examples.push_back(page);
  pass_.state_differed |= state_differs;
  if (next_ < page_count_ || !unanswered_.empty()) return std::optional<ScrubReport>{};
  ++stats_.passes;
  verifying_ = false;
  next_ = 0;
  since_.reset();
  return std::exchange(pass_, {});
}

}  // namespace understudy
