#include "failover/loop_watch.h"

namespace understudy {

namespace {
ProbeReport found_at(Instant now, ProbePath path, bool well, std::string text) {
  return {
      .path = path, .health = well ? Health::kHealthy : Health::kDegraded, .started_at = now, .completed_at = now, .text = std::move(text)};
}
}  // namespace

void TimerWatch::note(Instant due, Instant now) {
  const Duration late = now - due;
  if (now - late_at_ > kWindow || late >= late_) {
    late_ = late;
    late_at_ = now;
  }
}

ProbeReport TimerWatch::look(Instant now) const {
  const bool late = late_ >= kLate && now - late_at_ <= kWindow;
  return found_at(now, ProbePath::kScheduler, !late, late ? "timers are late by up to " + ms_text(late_) : "timers are in time");
}

bool LoopWatch::ask(Instant now) {
  if (asked_at_) return false;
  asked_at_ = now;
  return true;
}

ProbeReport LoopWatch::look(const std::string& name, Instant now) const {
  const bool slow = asked_at_ && now - *asked_at_ >= kSlowAfter;
  return found_at(now, ProbePath::kVmm, !slow,
                  slow ? "the " + name + " loop has not answered for " + ms_text(now - *asked_at_) : "the " + name + " loop answers");
}

ProbeReport ReceiveWatch::look(std::uint64_t total, Instant now) {
  if (latest_ && now - *latest_ > kTold) {
    latest_.reset();
    before_ = total_;
  }
  if (total > total_) latest_ = now;
  total_ = total;
  if (!latest_) return found_at(now, ProbePath::kReceive, true, "what arrives is whole");
  return found_at(now, ProbePath::kReceive, false, std::to_string(total_ - before_) + " messages of the peer arrived damaged");
}

void RateMeter::note(std::uint64_t total, Instant now) {
  if (!since_) {
    since_ = now;
    total_ = total;
    return;
  }
  if (now - *since_ < kEvery) return;
  const double seconds = std::chrono::duration<double>(now - *since_).count();
  per_second_ = total > total_ ? static_cast<std::uint64_t>(static_cast<double>(total - total_) / seconds) : 0;
  since_ = now;
  total_ = total;
}

}  // namespace understudy
