#include "failover/echo_watch.h"

#include <algorithm>

namespace understudy {

void EchoWatch::note_sent(Instant now) {
  if (!waiting_at_) waiting_at_ = now;
  sent_at_ = now;
  ++unanswered_;
}

void EchoWatch::note_reply(Instant now) {
  if (!sent_at_) return;
  // An answer does not say to which request: the earliest that waits is the one that is not younger than it.
  if (waiting_at_) took_ = std::max<Duration>(now - *waiting_at_, Duration{1});
  heard_at_ = now;
  waiting_at_.reset();
  unanswered_ = 0;
}

void EchoWatch::judge(ProbeReport& report, const std::string& target, Instant now) const {
  if (!heard_at_ && !configured_) return;
  const bool lost = waiting_at_ && unanswered_ >= limits_.lost_requests && now - *waiting_at_ >= limits_.lost_after;
  if (lost) {
    report.health = Health::kDegraded;
    report.suspected = true;
    report.beyond = true;
    report.text += ", but no answer from " + target + " for " + ms_text(now - *waiting_at_);
  } else if (heard_at_) {
    report.beyond = true;
    report.latency = waiting_at_ ? std::max(took_, now - *waiting_at_) : took_;
    report.text += ", and " + target + " answers";
  }
}

}  // namespace understudy
