#include "tests/lab/outcome.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "tests/lab/machines.h"

namespace understudy::lab {

namespace {

constexpr double kLeastStolen = 0.75;
constexpr Duration kOrdinarySilence = std::chrono::milliseconds{100};  // a few epochs, or a request that was sent again

const std::optional<NodeStatus>& status_of(const Outcome& outcome, NodeId id) { return outcome.statuses[static_cast<std::size_t>(id)]; }

// Of a run in which the guest ended and started afresh: it did so once, in place, under protection, and both hosts told of it.
std::vector<std::string> shortcomings_of_ending(const Outcome& outcome) {
  std::vector<std::string> found;
  const auto against = [&](bool wrong, std::string sentence) {
    if (wrong) found.push_back(std::move(sentence));
  };
  const GuestEnding ending = outcome.ending.value_or(GuestEnding{});
  for (const NodeId id : kBothNodes)
    against(ending.told[static_cast<std::size_t>(id)].empty(),
            fmt::format("{}'s status did not name the guest's end", kHosts[static_cast<std::size_t>(id)]));
  against(!ending.not_left_alone.empty(), ending.not_left_alone);
  against(stays_over(outcome.fault) && !ending.started_at, "the guest was not started again");
  against(outcome.history.boots != 2, fmt::format("{} boots of the guest answered, not two", outcome.history.boots));
  against(outcome.speakers.hosts[1].frames > 0, "host-b took over a guest that had ended by itself");
  const auto& host_a = status_of(outcome, NodeId::kA);
  against(!host_a || !host_a->is_protected, "the guest is not protected again");
  return found;
}

// Of a run in which nothing may have moved: no role, no term.
std::vector<std::string> movements(const Outcome& outcome, Term term_before) {
  std::vector<std::string> found;
  const auto against = [&](bool wrong, std::string sentence) {
    if (wrong) found.push_back(std::move(sentence));
  };
  against(outcome.speakers.hosts[1].frames > 0, "host-b took over, though host-a was well");
  const auto& host_a = status_of(outcome, NodeId::kA);
  const auto& host_b = status_of(outcome, NodeId::kB);
  against(!host_a || host_a->role != "primary" || !host_a->is_protected, "host-a is not a protected primary any more");
  against(!host_b || host_b->role != "secondary", "host-b is not its secondary any more");
  against(host_a && host_a->term != term_before, fmt::format("the term changed from {} to {}", term_before.raw(), host_a->term.raw()));
  for (const NodeId id : kBothNodes) {
    if (!status_of(outcome, id)) continue;
    for (const auto& moment : status_of(outcome, id)->timeline)
      against(moment.at >= outcome.fault_at && moment.term != term_before,
              fmt::format("{} changed its term: {}", kHosts[static_cast<std::size_t>(id)], moment.name));
  }
  return found;
}

// Of a run in which the arbiter was away: a whole pair does not need it.
std::vector<std::string> shortcomings_of_arbiter_break(const Outcome& outcome) {
  const ArbiterBreak away = outcome.arbiter.value_or(ArbiterBreak{});
  auto found = movements(outcome, away.term_before);
  const auto against = [&](bool wrong, std::string sentence) {
    if (wrong) found.push_back(std::move(sentence));
  };
  against(away.acknowledged_meanwhile == 0, "nothing was acknowledged while the arbiter was away");
  against(away.record_after.find(fmt::format("term {}, pair; holder: node a", away.term_before.raw())) == std::string::npos,
          "the arbiter came back without its record: " + away.record_after);
  return found;
}

// Of a run through rough times: no host is sick, so the guest stays, and is protected when they are over. To have gone on alone for a while
// is no takeover.
std::vector<std::string> shortcomings_of_rough_run(const Outcome& outcome) {
  std::vector<std::string> found;
  const auto against = [&](bool wrong, std::string sentence) {
    if (wrong) found.push_back(std::move(sentence));
  };
  const RoughRun rough = outcome.rough.value_or(RoughRun{});
  against(rough.figures.stolen_share < kLeastStolen,
          fmt::format("only {:.0f} % of the CPUs were stolen", rough.figures.stolen_share * 100));
  against(rough.figures.spikes == 0 || rough.figures.frames_lost == 0, "the links were not rough");
  against(rough.acknowledged_meanwhile == 0, "nothing was acknowledged in rough times");
  against(outcome.speakers.hosts[1].frames > 0, "host-b took over, though host-a was well");
  const auto& host_a = status_of(outcome, NodeId::kA);
  against(!host_a || !host_a->is_protected, "the guest is not protected again");
  return found;
}

std::vector<std::string> shortcomings_of_resync(const Outcome& outcome) {
  // Of a guest with 64 MiB of memory and as large a disk, which keep their work in a small part of both.
  constexpr std::uint64_t kMostBytes = std::uint64_t{24} << 20;
  std::vector<std::string> found;
  const Resync resync = outcome.resync.value_or(Resync{});
  if (resync.role_meanwhile != "solo") found.push_back("host-a did not go on alone meanwhile, but was " + resync.role_meanwhile);
  if (resync.kind != "resync") found.push_back("host-b was not sent what may differ alone: " + resync.kind);
  if (resync.sent_bytes > kMostBytes) found.push_back(fmt::format("the resync sent {} bytes", resync.sent_bytes));
  if (outcome.compared.empty()) found.emplace_back("the hosts were not compared");
  return found;
}

std::vector<std::string> shortcomings_of_intrusion(const Outcome& outcome) {
  const Intrusion intrusion = outcome.intrusion.value_or(Intrusion{});
  auto found = movements(outcome, intrusion.term_before);
  if (intrusion.tried.empty()) found.emplace_back("the intruder tried nothing");
  for (const auto& tried : intrusion.tried) {
    if (tried.told.empty()) found.push_back(fmt::format("{} at {}: nobody said that it was refused", tried.what, tried.where));
  }
  return found;
}

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
  for (const std::string& sentence : outcome.not_replayed) against(true, sentence);
  against(!outcome.background.empty(), outcome.background);
  against(!outcome.not_the_same.empty(), outcome.not_the_same);

  if (outcome.linux_guest) {
    for (auto& sentence : shortcomings(*outcome.linux_guest)) against(true, std::move(sentence));
  }

  const auto last = survivor(outcome);
  against(!last, "not exactly one host says at the end that it runs the guest");
  if (last) {
    const GuestThen then = guest_then(outcome.fault, outcome.struck);
    against(then == GuestThen::kMoves && *last != NodeId::kB, "host-b did not take over");
    against(then == GuestThen::kStays && *last != NodeId::kA, "the guest is not on host-a any more");
    against(*last == NodeId::kB && !speakers.changed_at, "host-b says that it runs the guest, and sent nothing");
  }
  if (starts_afresh(outcome.fault)) {
    for (auto& sentence : shortcomings_of_ending(outcome)) against(true, std::move(sentence));
  }
  if (outcome.fault == Fault::kArbiterRestart) {
    for (auto& sentence : shortcomings_of_arbiter_break(outcome)) against(true, std::move(sentence));
  }
  if (outcome.fault == Fault::kRoughTimes) {
    for (auto& sentence : shortcomings_of_rough_run(outcome)) against(true, std::move(sentence));
  }
  if (outcome.fault == Fault::kLinksBack) {
    for (auto& sentence : shortcomings_of_resync(outcome)) against(true, std::move(sentence));
  }
  if (outcome.fault == Fault::kIntruder) {
    for (auto& sentence : shortcomings_of_intrusion(outcome)) against(true, std::move(sentence));
  }
  if (outcome.fault == Fault::kSwitchover)
    against(!last || !status_of(outcome, *last)->is_protected, "the pair is not protected after the switchover");
  if (outcome.fault == Fault::kFence)
    against(!status_of(outcome, NodeId::kA) || status_of(outcome, NodeId::kA)->role != "fenced", "host-a does not say that it is fenced");
  for (auto& sentence : shortcomings_of_detection(outcome)) against(true, std::move(sentence));
  if (outcome.struck == NodeId::kB && guest_then(outcome.fault, outcome.struck) == GuestThen::kStays)
    against(outcome.speakers.hosts[1].frames > 0, "host-b took over, though it is the one that is sick");
  if (outcome.fault == Fault::kDaemonStop && outcome.struck == NodeId::kA) {
    const auto& woken = status_of(outcome, NodeId::kA);
    against(!woken || woken->role != "fenced",
            fmt::format("host-a woke up and says that it is {}, not fenced", woken ? woken->role : "not there"));
    against(outcome.acknowledged_after_thaw == 0, "nothing was acknowledged after host-a woke up");
  }
  return found;
}

std::vector<TimelineEntry> timeline(const Outcome& outcome) {
  std::vector<TimelineEntry> entries;
  entries.push_back({outcome.fault_at, "lab", "fault", describe(outcome.fault, outcome.struck)});
  if (outcome.verdict)
    entries.push_back({outcome.verdict->at, kHosts[static_cast<std::size_t>(peer_of(outcome.struck))], "verdict",
                       outcome.verdict->condition + (outcome.verdict->text.empty() ? "" : ": " + outcome.verdict->text)});
  if (outcome.thawed_at)
    entries.push_back(
        {*outcome.thawed_at, "lab", "woken", "SIGCONT to understudyd on " + kHosts[static_cast<std::size_t>(outcome.struck)]});
  if (outcome.rough) entries.push_back({outcome.fault_at + outcome.rough->figures.lasted, "lab", "calm", "rough times are over"});
  if (outcome.arbiter) entries.push_back({outcome.arbiter->back_at, "lab", "arbiter back", "with the store that it left"});
  if (outcome.ending && outcome.ending->started_at)
    entries.push_back({*outcome.ending->started_at, "lab", "start", "understudy start on host-a"});
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
  // After a change of hosts the client is served again from the first frame of the new one; without one, after the longest silence, if
  // there was one that deserves the name, and else all the time.
  std::optional<Instant> previous;
  Duration longest_from_fault = kOrdinarySilence;
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
  if (!outcome.speakers.changed_at && !outcome.first_reply_after) {
    const auto next = std::ranges::find_if(answered_at, [&](Instant at) { return at > outcome.fault_at; });
    if (next != answered_at.end()) outcome.first_reply_after = *next;
  }
}

}  // namespace understudy::lab
