// The judge of what the client was told: every reply it got, set against the rules of one service that never failed.
//
// Pure. The service numbers its executions from 1 and chains a checksum over them (tests/guest/kv_protocol.h). The client sees to it that
// every request is answered in the end, so the replies together name every execution: what is missing ran for nobody, what appears twice
// forked, and what breaks the chain contradicts what was told before.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "net/base/clock.h"
#include "tests/guest/kv_protocol.h"

namespace understudy::lab {

struct AcknowledgedReply {
  guest::KvRequest request;
  guest::KvReply reply;
  Instant first_sent_at;
  Instant received_at;
};

struct HistoryFindings {
  std::uint64_t acknowledged = 0;    // requests with a reply
  std::uint64_t lost = 0;            // acknowledged, and not part of the history that went on
  std::uint64_t contradicted = 0;    // replies that cannot be true beside the others
  std::uint64_t executed_twice = 0;  // executions that no reply accounts for, or two for one request
  std::uint64_t last_sequence = 0;   // of the history that went on
  std::uint64_t boots = 0;           // of the guest, that replies came from
  static constexpr std::size_t kMaxExamples = 8;
  std::vector<std::string> examples;  // the first findings, a sentence each
  bool clean() const { return lost == 0 && contradicted == 0 && executed_twice == 0; }
};

// `replies` in the order of their arrival, repeated ones included. `unanswered`: requests sent and never answered, each of which may have
// been executed all the same. Of one boot: a reply from another is a contradiction (boots.h judges several).
HistoryFindings judge_history(std::span<const AcknowledgedReply> replies, std::uint64_t unanswered);

// When each request was answered first, in that order: a repeated reply is no further acknowledgement.
std::vector<Instant> acknowledgement_times(std::span<const AcknowledgedReply> replies);

}  // namespace understudy::lab
