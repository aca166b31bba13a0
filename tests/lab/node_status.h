// What `understudy status --json` and `events --json` say, as far as the lab asks.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "net/base/clock.h"
#include "net/base/ids.h"
#include "net/base/result.h"

namespace understudy::lab {

struct NodeStatus {
  struct Moment {
    std::string name;
    Instant at;
    Term term;
    std::string text;
  };
  std::string role;
  std::string mode;
  std::string reason;
  std::string peer_verdict;  // "failed: storage failed: ..., primary"
  std::string guest;         // in a sentence
  std::string ended;         // how it ended by itself; empty: it lives
  Term term;
  Epoch committed_epoch;
  bool is_protected = false;
  std::uint64_t pause_median_us = 0;
  std::uint64_t pause_p99_us = 0;
  std::uint64_t dirty_pages = 0;
  std::uint64_t ack_us = 0;
  std::string transfer_kind;  // the latest: "full", "resync", or empty
  std::uint64_t transfer_sent_bytes = 0;
  std::uint64_t links_refused = 0;  // connections
  std::string links_last_refused;   // from where, and why
  std::vector<Moment> timeline;

  bool runs_the_guest() const { return role == "primary" || role == "solo"; }
};

// One line of `understudy events --json`.
struct NodeEvent {
  Instant at;
  std::string kind;
  std::string text;
};

// One line of `understudy epochs --json`.
struct NodeEpoch {
  Epoch epoch;
  std::uint64_t pause_us = 0;
  std::uint64_t dirty_pages = 0;
  std::uint64_t sent_bytes = 0;
  std::uint64_t ack_us = 0;
};

// kCorrupt names the field that is missing or of another type.
Result<NodeStatus> parse_node_status(std::string_view json);
Result<std::vector<NodeEvent>> parse_node_events(std::string_view json_lines);
Result<std::vector<NodeEpoch>> parse_node_epochs(std::string_view json_lines);

}  // namespace understudy::lab
