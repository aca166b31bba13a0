#include "failover/daemon/explain.h"

#include <algorithm>

#include <fmt/format.h>

#include "failover/daemon/json.h"
#include "failover/daemon/status.h"
#include "failover/daemon/wall_time.h"
#include "failover/flight_replay.h"

namespace understudy {

namespace {

// Events further apart belong to another story.
constexpr Duration kStoryGap = std::chrono::seconds{10};
constexpr std::size_t kMostLines = 60;

const char* word_for(Severity severity) {
  switch (severity) {
    case Severity::kDebug:
      return "debug";
    case Severity::kInfo:
      return "info";
    case Severity::kWarning:
      return "warning";
    case Severity::kError:
      return "error";
  }
  return "unknown";
}

struct Story {
  std::vector<FlightEvent> how;
  std::vector<FlightEvent> since;
};

bool changes_role(const FlightEvent& event) { return event.kind == "role"; }

// The story of the latest change of roles: all before it that lies close together, as far as the change before, and what followed close
// upon it.
Story story_of(std::span<const FlightEvent> events) {
  Story out;
  const auto latest = std::find_if(events.rbegin(), events.rend(), changes_role);
  if (latest == events.rend()) {
    out.since.assign(events.begin(), events.end());
    return out;
  }
  const auto near = [](const FlightEvent& earlier, const FlightEvent& later) {
    return later.realtime_ns - earlier.realtime_ns <= kStoryGap.count();
  };
  auto begin = std::prev(latest.base());
  while (begin != events.begin() && near(*std::prev(begin), *begin) && std::prev(begin)->kind != "started") --begin;
  if (begin != events.begin() && std::prev(begin)->kind == "started") --begin;
  auto end = latest.base();
  while (end != events.end() && near(*std::prev(end), *end)) ++end;
  out.how.assign(begin, end);
  std::copy_if(end, events.end(), std::back_inserter(out.since), [](const FlightEvent& event) {
    return event.severity >= Severity::kWarning || event.kind == "command" || event.kind == "command done";
  });
  return out;
}

void add_lines(std::string& text, std::span<const FlightEvent> events) {
  if (events.size() > kMostLines) {
    text += fmt::format("  ({} earlier ones: understudy events)\n", events.size() - kMostLines);
    events = events.last(kMostLines);
  }
  for (const FlightEvent& event : events)
    text += fmt::format("  {}  {:<9}  term {:<4}  {}{}{}\n", local(event.realtime_ns), event.role, event.term.raw(), event.kind,
                        event.text.empty() ? "" : ": ", event.text);
}

void write_line(const FlightEvent& event, schema::EventLine::Builder out) {
  out.setSerial(event.serial);
  out.setTime(utc(event.realtime_ns));
  out.setTerm(event.term.raw());
  out.setRole(event.role);
  out.setSeverity(word_for(event.severity));
  out.setKind(event.kind);
  out.setText(event.text);
}

template <class List>
void write_lines(std::span<const FlightEvent> events, List out) {
  for (unsigned i = 0; i < out.size(); ++i) write_line(events[i], out[i]);
}

}  // namespace

std::string event_as_text(const FlightEvent& event) {
  return fmt::format("{}  {:<7}  {:<9}  term {:<4}  {}{}{}\n", local(event.realtime_ns), word_for(event.severity), event.role,
                     event.term.raw(), event.kind, event.text.empty() ? "" : ": ", event.text);
}

std::string event_as_json(const FlightEvent& event) {
  capnp::MallocMessageBuilder message;
  auto line = message.initRoot<schema::EventLine>();
  write_line(event, line);
  return as_json(line.asReader(), JsonForm::kOneLine);
}

std::string explain(std::optional<schema::Status::Reader> status, std::span<const FlightEvent> events) {
  const Story story = story_of(events);
  std::string text;
  if (status) {
    text += fmt::format("node {} of pair {} is {}, in term {}, and its guest is {}\n", status->getNode().cStr(), status->getPair().cStr(),
                        status->getRole().cStr(), status->getTerm(), status->getProtected() ? "protected" : "NOT PROTECTED");
    const auto line = [&](const char* label, capnp::Text::Reader value) {
      if (value.size() > 0) text += fmt::format("  {:<10}{}\n", label, value.cStr());
    };
    line("why", status->getReason());
    line("guest", status->getGuest());
    line("this host", status->getVerdict());
    line("peer", status->getPeerVerdict());
  } else if (!events.empty()) {
    text += fmt::format("the daemon does not answer; when it last told of itself, at {}, it was {} in term {}\n",
                        local(events.back().realtime_ns), events.back().role, events.back().term.raw());
  }
  if (events.empty()) return text + "\nnothing is recorded yet\n";
  text += "\nhow it came to this\n";
  if (story.how.empty()) text += "  no change of roles is recorded\n";
  add_lines(text, story.how);
  if (!story.since.empty()) {
    text += "\nsince then\n";
    add_lines(text, story.since);
  }
  return text;
}

std::string explain_as_json(std::optional<schema::Status::Reader> status, std::span<const FlightEvent> events) {
  const Story story = story_of(events);
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<schema::Explanation>();
  if (status) out.setStatus(*status);
  write_lines(story.how, out.initHow(static_cast<unsigned>(story.how.size())));
  write_lines(story.since, out.initSince(static_cast<unsigned>(story.since.size())));
  return as_json(out.asReader(), JsonForm::kIndented);
}

Result<ReplaySummary> replay_all(FlightSource& source) {
  ReplaySummary out;
  for (std::uint64_t next = 0;;) {
    US_ASSIGN(const auto chunk, source.chunk(next));
    if (!chunk) return out;
    next = chunk->serial + 1;
    out.missing = std::max(out.missing, chunk->missing);
    const auto report = replay(*chunk);
    if (!report && report.error().code() == ErrorCode::kUnsupportedVersion) {
      ++out.other_versions;
      continue;
    }
    if (out.chunks++ == 0) out.from_realtime_ns = chunk->started_realtime_ns;
    out.to_realtime_ns = chunk->started_realtime_ns;
    if (!report) {
      out.differences.push_back(report.error().text());
      continue;
    }
    out.to_realtime_ns += report->length.count();
    out.steps += report->steps;
    out.decisions += report->decisions;
    if (report->difference) out.differences.push_back(*report->difference);
  }
}

std::string replay_as_text(const ReplaySummary& summary) {
  std::string text;
  if (summary.chunks == 0) {
    text = "nothing was replayed\n";
  } else {
    text = fmt::format("replayed {} steps, {} of which led to something, from {} to {}: {}\n", summary.steps, summary.decisions,
                       local(summary.from_realtime_ns), local(summary.to_realtime_ns),
                       summary.differences.empty() ? "the same decisions" : "NOT the same decisions");
  }
  for (const std::string& difference : summary.differences) text += "  " + difference + "\n";
  if (summary.other_versions > 0)
    text += fmt::format("  {} chunks were recorded by another version, whose `understudy` can replay them\n", summary.other_versions);
  if (summary.missing > 0) text += fmt::format("  {} chunks could not be stored, and are missing\n", summary.missing);
  return text;
}

std::string replay_as_json(const ReplaySummary& summary) {
  capnp::MallocMessageBuilder message;
  auto out = message.initRoot<schema::Replay>();
  out.setChunks(summary.chunks);
  out.setSteps(summary.steps);
  out.setDecisions(summary.decisions);
  out.setOtherVersions(summary.other_versions);
  out.setMissing(summary.missing);
  if (summary.chunks > 0) {
    out.setFrom(utc(summary.from_realtime_ns));
    out.setTo(utc(summary.to_realtime_ns));
  }
  auto differences = out.initDifferences(static_cast<unsigned>(summary.differences.size()));
  for (unsigned i = 0; i < differences.size(); ++i) differences.set(i, summary.differences[i]);
  return as_json(out.asReader(), JsonForm::kIndented);
}

}  // namespace understudy
