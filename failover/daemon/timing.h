// The durations of a node's configuration, and their keys in its file: one table for whoever reads the file and whoever writes one.
#pragma once

#include <chrono>
#include <cstdint>

#include "net/base/clock.h"

namespace understudy {

struct Timing {
  Duration epoch = std::chrono::milliseconds{25};
  Duration pause_deadline = std::chrono::milliseconds{500};
  Duration heartbeat = std::chrono::milliseconds{50};
  Duration solo_after = std::chrono::milliseconds{250};
  Duration takeover_after = std::chrono::milliseconds{400};
  Duration stalled_after = std::chrono::milliseconds{1500};
  Duration ack_timeout = std::chrono::seconds{2};  // a secondary that confirms nothing of what was sent for so long loses its session
  Duration probe_deadline = std::chrono::milliseconds{600};
  // The storage probe's: a canary may have to wait behind what the guest asked of the same device.
  Duration storage_deadline = std::chrono::milliseconds{1500};
  // A peer that is back after a break is sent only what may differ, if it was gone for no longer; the guest's writes are tracked for so
  // long.
  Duration resync_within = std::chrono::hours{1};
  Duration fold = std::chrono::seconds{1};            // between two durable cuts, with durability "memory"
  Duration durable = std::chrono::milliseconds{500};  // an ack waits for its cut no longer, with durability "disk"
  Duration hold_down = std::chrono::seconds{10};      // after a move: none back for a sick host, only for a silent one
};

// A key of [timing]: whole milliseconds.
struct TimingKey {
  const char* name;
  Duration Timing::*value;
  std::int64_t lowest_ms;
  std::int64_t highest_ms;
};

inline constexpr TimingKey kTimingKeys[] = {
    {"epoch_ms", &Timing::epoch, 1, 10'000},
    {"pause_deadline_ms", &Timing::pause_deadline, 10, 60'000},
    {"heartbeat_ms", &Timing::heartbeat, 5, 10'000},
    {"solo_after_ms", &Timing::solo_after, 20, 600'000},
    {"takeover_after_ms", &Timing::takeover_after, 20, 600'000},
    {"stalled_after_ms", &Timing::stalled_after, 50, 600'000},
    {"ack_timeout_ms", &Timing::ack_timeout, 50, 600'000},
    {"probe_deadline_ms", &Timing::probe_deadline, 200, 600'000},
    {"storage_deadline_ms", &Timing::storage_deadline, 200, 600'000},
    {"resync_within_ms", &Timing::resync_within, 0, 604'800'000},
    {"fold_ms", &Timing::fold, 10, 600'000},
    {"durable_ms", &Timing::durable, 10, 60'000},
    {"hold_down_ms", &Timing::hold_down, 0, 3'600'000},
};

}  // namespace understudy
