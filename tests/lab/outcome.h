// What one run of the demo brought to light, and whether that is good: the figures, the verdict, and what speaks against it.
//
// Pure: the demo fills it in, the reports print it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "net/base/clock.h"
#include "tests/lab/detection.h"
#include "tests/lab/fault.h"
#include "tests/lab/history.h"
#include "tests/lab/linux_findings.h"
#include "tests/lab/node_status.h"
#include "tests/lab/rough_times.h"
#include "tests/lab/speakers.h"

namespace understudy::lab {

// One line of the timeline.
struct TimelineEntry {
  Instant at;
  std::string who;  // "lab", "host-a", "client", "wire"
  std::string name;
  std::string text;
};

// Of a run in which the guest ends and starts afresh.
struct GuestEnding {
  // What each host's status said of it, by NodeId, as soon as that named the end (and, where the guest stays over, that it is not revived).
  std::array<std::string, 2> told;
  std::string not_left_alone;         // what a host did about a guest that was over, a sentence; empty: nothing
  std::optional<Instant> started_at;  // `understudy start`; nullopt: it was not needed, or not to be had
};

// Of a run in which the arbiter was away for a while.
struct ArbiterBreak {
  Term term_before;
  std::uint64_t acknowledged_meanwhile = 0;  // while it was away
  Instant back_at;
  std::string record_after;  // what it has on record then, as an operator is told; or why that is not to be had
};

// Of a run through rough times.
struct RoughRun {
  RoughTimesFigures figures;
  std::uint64_t acknowledged_meanwhile = 0;
  // Of either host, from its events: how often it found its peer unfit, and how often it went on alone.
  std::uint64_t verdicts = 0;
  std::uint64_t alone = 0;
};

// Of a run with an intruder: what was tried, and what those who listen said of it.
struct Intrusion {
  struct Tried {
    std::string what;   // "a replayed stream"
    std::string where;  // "heartbeat"
    std::string told;   // what was counted and named; empty: nothing, so it was let in or went unnoticed
  };
  Term term_before;
  std::vector<Tried> tried;
};

// After a break of the links.
struct Resync {
  std::string role_meanwhile;  // of host-a
  std::string kind;            // how host-b's image was brought to the present: "resync", "full", or empty
  std::uint64_t sent_bytes = 0;
  Duration took{};  // until protected
};

struct Outcome {
  Fault fault = Fault::kKill;
  NodeId struck = NodeId::kA;
  Instant fault_at;
  std::optional<Instant> thawed_at;

  HistoryFindings history;
  std::uint64_t acknowledged_before = 0;
  std::uint64_t acknowledged_after = 0;
  std::uint64_t acknowledged_after_thaw = 0;
  std::uint64_t unanswered = 0;
  Duration longest_silence{};
  std::optional<Instant> first_reply_after;  // the reply that ended the silence around the fault

  SpeakerFindings speakers;
  std::uint64_t frames_missed = 0;                    // by the wire tap
  std::array<std::optional<NodeStatus>, 2> statuses;  // at the end, by NodeId
  std::uint64_t log_records_missing = 0;              // acknowledged changes that are not on the disk of the host that runs the guest
  std::uint64_t log_records_checked = 0;
  std::optional<LinuxFindings> linux_guest;  // of a Linux guest
  std::optional<GuestEnding> ending;         // of a guest that started afresh
  // What each living daemon's recorded decisions were, done again: what `understudy explain --replay` said of them; empty: gone.
  std::array<std::string, 2> replayed;
  std::vector<std::string> not_replayed;  // a sentence each
  // Of a pair that is protected at the end, still under load: what `understudy verify` said; or why the hosts do not hold the same.
  std::string compared;
  std::string not_the_same;
  std::optional<ArbiterBreak> arbiter;
  std::optional<RoughRun> rough;
  std::optional<FoundVerdict> verdict;  // of the other host on the struck one
  std::string verdict_told;             // the same in the other host's status, soon after
  std::optional<Intrusion> intrusion;
  std::optional<Resync> resync;
  std::string background;  // what else went wrong, a sentence; empty: nothing
};

// The node that runs the guest at the end; nullopt when none or both say so.
std::optional<NodeId> survivor(const Outcome& outcome);

// Everything that speaks against the run, a sentence each. Empty: the verdict is good.
std::vector<std::string> shortcomings(const Outcome& outcome);

// The fault, what both nodes recorded after it, and what wire and client saw, in order of time.
std::vector<TimelineEntry> timeline(const Outcome& outcome);

// Fills in what follows from when requests were answered, in that order: counts, longest silence while changes were asked for, the first
// reply after the fault, or after the silence that it caused.
void summarize_replies(Outcome& outcome, std::span<const Instant> answered_at, Instant reading_back_since);

}  // namespace understudy::lab
