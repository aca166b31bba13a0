#include "replication/ack_window.h"

#include <algorithm>
#include <string>

#include "net/base/check.h"

namespace understudy {

void AckWindow::open(const AckSource& source, Epoch committed) {
  source_ = source;
  committed_ = committed;
  sent_.clear();
}

void AckWindow::raise(Term term) {
  US_CHECK(term >= source_.term);
  source_.term = term;
}

void AckWindow::sent(Epoch epoch, Instant now) {
  US_CHECK(epoch > committed_ && (sent_.empty() || epoch > sent_.back().epoch));
  sent_.push_back({epoch, now});
}

Result<bool> AckWindow::acked(const AckSource& from, Epoch epoch) {
  if (from != source_) {
    ++stale_acks_;
    return false;
  }
  if (epoch <= committed_) return false;  // a duplicate, or the answer to a raised term
  const auto found = std::ranges::find(sent_, epoch, &Sent::epoch);
  if (found == sent_.end())
    return Error{ErrorCode::kCorrupt, "ack of epoch " + std::to_string(epoch.raw()) + ", which was not sent (committed " +
                                          std::to_string(committed_.raw()) + ", newest sent " +
                                          std::to_string(sent_.empty() ? committed_.raw() : sent_.back().epoch.raw()) + ")"};
  sent_.erase(sent_.begin(), found + 1);
  committed_ = epoch;
  return true;
}

}  // namespace understudy
