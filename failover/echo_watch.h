// Whether answers come from beyond the NIC: requests and replies in, a judgement out. Pure.
#pragma once

#include <optional>
#include <string>

#include "failover/probe.h"
#include "net/base/clock.h"

namespace understudy {

struct EchoLimits {
  Duration every = std::chrono::milliseconds{100};        // between two requests
  Duration lost_after = std::chrono::milliseconds{1000};  // no answer for so long, and to so many requests: lost
  unsigned lost_requests = 5;                             // a few percent of lost frames never lose so many in a row
};

class EchoWatch {
 public:
  // `configured`: an operator named the target, so it is there. One that was only learnt must have answered before its silence says
  // anything.
  EchoWatch(EchoLimits limits, bool configured) : limits_{limits}, configured_{configured} {}

  bool due(Instant now) const { return !sent_at_ || now - *sent_at_ >= limits_.every; }
  void note_sent(Instant now);
  void note_reply(Instant now);

  // Of a NIC that is otherwise well: adds what the echo says to its report. `target` for a person.
  void judge(ProbeReport& report, const std::string& target, Instant now) const;

 private:
  const EchoLimits limits_;
  const bool configured_;
  std::optional<Instant> sent_at_;     // the latest request
  std::optional<Instant> waiting_at_;  // the first request since the latest answer
  std::optional<Instant> heard_at_;
  unsigned unanswered_ = 0;
  Duration took_{};  // the latest answer, from the request before it
};

}  // namespace understudy
