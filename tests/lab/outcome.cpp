#include "tests/lab/outcome.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

namespace understudy::lab {

namespace {

const std::optional<NodeStatus>& status_of(const Outcome& outcome, NodeId id) { return outcome.statuses[static_cast<std::size_t>(id)]; }

}  // namespace

std::optional<NodeId> survivor(const Outcome& outcome) {
  std::optional<NodeId> found;
  for (const NodeId id : kBothNodes) {
    if (!status_of(outcome, id) || !status_of(outcome, id)->runs_the_guest()) continue;
    if (found) return std::nullopt;
    found = id;
  }
  return found;
}

std::vector<std::string> shortcomings(const Outcome& outcome) {
  std::vector<std::string> found;
  const auto against = [&](bool wrong, std::string sentence) {
    if (wrong) found.push_back(std::move(sentence));
  };
  const auto& history = outcome.history;
  against(history.lost > 0, fmt::format("{} acknowledged replies were lost", history.lost));
  against(history.contradicted > 0, fmt::format("{} replies contradict others", history.contradicted));
  against(history.executed_twice > 0, fmt::format("{} requests were executed twice", history.executed_twice));
  against(outcome.unanswered > 0, fmt::format("{} requests stayed unanswered", outcome.unanswered));
  against(outcome.acknowledged_before == 0, "nothing was acknowledged before the fault");
  against(outcome.acknowledged_after == 0, "nothing was acknowledged after the fault");
  against(outcome.log_records_missing > 0, fmt::format("{} acknowledged changes are not on the disk", outcome.log_records_missing));

  const auto& speakers = outcome.speakers;
  against(speakers.late > 0, fmt::format("two hosts answered: {} frames from a host after another had followed it", speakers.late));
  against(speakers.late_committed > kMaxFramesUnderWay,
          fmt::format("two hosts answered: {} repeated replies from a host after another had followed it", speakers.late_committed));
  against(outcome.frames_missed > 0, fmt::format("the wire tap missed {} frames, so it proves nothing", outcome.frames_missed));
  against(!outcome.background.empty(), outcome.background);

  if (outcome.linux_guest) {
    for (auto& sentence : shortcomings(*outcome.linux_guest)) against(true, std::move(sentence));
  }

  const auto last = survivor(outcome);
  against(!last, "not exactly one host says at the end that it runs the guest");
  if (last) {
    against(outcome.fault != Fault::kPartition && *last != NodeId::kB, "host-b did not take over");
    against(*last == NodeId::kB && !speakers.changed_at, "host-b says that it runs the guest, and sent nothing");
  }
  if (outcome.fault == Fault::kSwitchover)
    against(!last || !status_of(outcome, *last)->is_protected, "the pair is not protected after the switchover");
  if (outcome.fault == Fault::kFreeze) {
    const auto& woken = status_of(outcome, NodeId::kA);
    against(!woken || woken->role != "fenced",
            fmt::format("host-a woke up and says that it is {}, not fenced", woken ? woken->role : "not there"));
    against(outcome.acknowledged_after_thaw == 0, "nothing was acknowledged after host-a woke up");
  }
  return found;
}

std::vector<TimelineEntry> timeline(const Outcome& outcome) {
  std::vector<TimelineEntry> entries;
  entries.push_back({outcome.fault_at, "lab", "fault", describe(outcome.fault)});
  if (outcome.thawed_at) entries.push_back({*outcome.thawed_at, "lab", "woken", "SIGCONT to understudyd on host-a"});
  for (const NodeId id : kBothNodes) {
    if (!status_of(outcome, id)) continue;
    for (const auto& moment : status_of(outcome, id)->timeline) {
      if (moment.at >= outcome.fault_at) entries.push_back({moment.at, kHosts[static_cast<std::size_t>(id)], moment.name, moment.text});
    }
  }
  if (outcome.speakers.changed_at)
    entries.push_back({*outcome.speakers.changed_at, "wire", "first frame", "of the guest's address from host-b"});
  if (outcome.first_reply_after) entries.push_back({*outcome.first_reply_after, "client", "first packet", "a reply reached the client"});
  std::ranges::stable_sort(entries, {}, &TimelineEntry::at);
  return entries;
}

void summarize_replies(Outcome& outcome, std::span<const Instant> answered_at, Instant reading_back_since) {
  // After a change of hosts the client is served again from the first frame of the new one; without one, after the longest silence.
  std::optional<Instant> previous;
  Duration longest_from_fault{};
  for (const Instant received_at : answered_at) {
    ++(received_at < outcome.fault_at ? outcome.acknowledged_before : outcome.acknowledged_after);
    if (outcome.thawed_at && received_at > *outcome.thawed_at) ++outcome.acknowledged_after_thaw;
    if (previous && *previous < reading_back_since) {
      const Duration silence = received_at - *previous;
      outcome.longest_silence = std::max(outcome.longest_silence, silence);
      if (!outcome.speakers.changed_at && received_at > outcome.fault_at && silence > longest_from_fault) {
        longest_from_fault = silence;
        outcome.first_reply_after = received_at;
      }
    }
    if (outcome.speakers.changed_at && !outcome.first_reply_after && received_at >= *outcome.speakers.changed_at)
      outcome.first_reply_after = received_at;
    previous = received_at;
  }
}

}  // namespace understudy::lab
