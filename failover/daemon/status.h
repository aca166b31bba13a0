// What `understudy status` shows, as plain values, and its forms: Cap'n Proto on the socket, JSON and text for people and scripts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "failover/daemon/link_numbers.h"
#include "failover/daemon/operator.capnp.h"
#include "net/base/clock.h"
#include "net/base/ids.h"

namespace understudy {

struct Status {
  struct Moment {
    std::string name;
    std::int64_t monotonic_ns = 0;
    std::int64_t realtime_ns = 0;
    Term term;
    std::string text;
  };
  struct Gate {
    std::string mode;
    std::uint64_t depth_frames = 0, depth_bytes = 0, released_frames = 0, dropped_frames = 0;
  };
  struct Transfer {  // of everything or of what may differ: the one under way, or the latest
    bool known = false;
    bool under_way = false;
    bool resync = false;
    std::uint64_t sent_bytes = 0;
    std::uint64_t left_bytes = 0;
    std::uint64_t took_ms = 0;
  };
  struct Scrub {  // comparing the guest's memory with the peer's image, pass after pass
    std::uint64_t pages = 0;
    std::uint64_t position = 0;
    std::uint64_t passes = 0;
    std::uint64_t differing = 0;
    bool verifying = false;
  };
  struct EpochNumbers {
    std::uint64_t pause_us = 0, dirty_pages = 0, sent_bytes = 0, ack_us = 0, pause_median_us = 0, pause_p99_us = 0;
  };
  struct Pacing {
    std::uint64_t shortest_us = 0, late_median_us = 0, late_p99_us = 0;
    std::string bound, broken;
  };
  struct Probe {
    std::string path, health, text, name;
    std::uint64_t age_ms = 0;
  };
  struct Disk {
    std::string id;
    std::uint64_t outstanding = 0, oldest_ms = 0, completed = 0, errors = 0;
    std::string last_error;
  };

  struct Hold {
    std::string by, reason;
    std::int64_t since_ns = 0, until_ns = 0;  // CLOCK_REALTIME; no end: 0
    bool both_know = false;
  };

  struct Durable {
    std::string level, trouble;
    Epoch epoch;
    std::uint64_t behind_ms = 0, waiting_bytes = 0;
  };

  std::string pair, node, role, mode;
  Term term;
  Epoch epoch, committed_epoch;
  bool is_protected = false;
  std::string reason, verdict, peer_verdict, guest, ended, arbiter;
  bool arbiter_answers = false;
  Incarnation incarnation;
  Term promise;
  std::vector<Moment> timeline;
  Gate gate;
  EpochNumbers last;
  Pacing pacing;
  Scrub scrub;
  Transfer transfer;
  std::vector<Probe> probes;
  std::vector<Disk> disks;
  Durable durable;
  std::optional<Hold> hold;     // nothing moves by itself
  std::string fenced_by_order;  // not empty: an operator keeps this node out
  bool wants_no_peer = false;   // the guest runs alone by an operator's order
  bool insecure = false;
  LinkNumbers links;
};

// One committed epoch, as `understudy epochs` shows it.
struct EpochLine {
  Epoch epoch;
  std::uint64_t pause_us = 0, dirty_pages = 0, sent_bytes = 0, ack_us = 0, gate_frames = 0;
};

void write_epoch(const EpochLine& line, schema::EpochLine::Builder out);
// For a person: one line, ended by a newline.
std::string epoch_as_text(schema::EpochLine::Reader line);

void write_status(const Status& status, schema::Status::Builder out);

// One JSON object with the schema's names; numbers are numbers.
std::string status_as_json(schema::Status::Reader status);
// For a person: a few aligned lines, ended by a newline.
std::string status_as_text(schema::Status::Reader status);

}  // namespace understudy
