#include "tests/lab/report.h"

#include <fmt/format.h>

#include "tests/lab/machines.h"

namespace understudy::lab {

namespace {

std::string json_text(std::string_view text) {
  std::string out{"\""};
  for (const char c : text) {
    if (c == '"' || c == '\\')
      out += {'\\', c};
    else if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    else
      out += c;
  }
  return out + '"';
}

double ms_after_fault(const Outcome& outcome, Instant at) { return to_ms(at - outcome.fault_at); }

// The moment of that name nearest after the fault, on either host.
std::optional<Instant> moment(const Outcome& outcome, std::string_view name) {
  for (const auto& entry : timeline(outcome)) {
    if (entry.name == name) return entry.at;
  }
  return std::nullopt;
}

std::string optional_ms(const std::optional<double>& ms) { return ms ? fmt::format("{:.3f}", *ms) : "null"; }

// From one moment of the timeline to a later one.
std::optional<double> between_ms(const Outcome& outcome, std::string_view from, std::string_view to) {
  const auto first = moment(outcome, from);
  const auto second = moment(outcome, to);
  if (!first || !second) return std::nullopt;
  return to_ms(*second - *first);
}

std::string linux_as_text(const LinuxFindings& findings) {
  const auto& log = findings.kernel_log;
  std::string text;
  text += fmt::format("  Redis client     {}\n",
                      findings.connection_ended.empty() ? "one connection from first to last" : findings.connection_ended);
  text += fmt::format("  web pages        {} before the fault, {} after, {} wrong\n", findings.pages_before, findings.pages_after,
                      findings.pages_wrong.size());
  text += fmt::format("  power-off        {}\n", findings.no_power_off.empty() ? "clean, on request" : findings.no_power_off);
  text += fmt::format("  file system      {}\n", !findings.no_power_off.empty() ? "not checked"
                                                 : findings.file_system.empty() ? "clean, says e2fsck -fn"
                                                                                : findings.file_system);
  text += fmt::format("  kernel's log     {} lines since the clients began, {} complaints\n", log.lines, log.complaints.size());
  return text;
}

std::string linux_as_json(const LinuxFindings& findings) {
  return fmt::format(
      "  \"linux\": {{\"connectionLived\": {}, \"pagesBefore\": {}, \"pagesAfter\": {}, \"pagesWrong\": {},\n"
      "    \"poweredOff\": {}, \"fileSystemClean\": {}, \"kernelLogLines\": {}, \"kernelComplaints\": {}}},\n",
      findings.connection_ended.empty(), findings.pages_before, findings.pages_after, findings.pages_wrong.size(),
      findings.no_power_off.empty(), findings.no_power_off.empty() && findings.file_system.empty(), findings.kernel_log.lines,
      findings.kernel_log.complaints.size());
}

std::string ending_as_text(const Outcome& outcome) {
  std::string text = fmt::format("  boots            {} that answered\n", outcome.history.boots);
  for (const NodeId id : kBothNodes) {
    const auto& told = outcome.ending->told[static_cast<std::size_t>(id)];
    text += fmt::format("  {} told      {}\n", kHosts[static_cast<std::size_t>(id)], told.empty() ? "nothing of the end" : told);
  }
  return text;
}

std::string ending_as_json(const Outcome& outcome) {
  const auto& ending = *outcome.ending;
  return fmt::format("  \"ending\": {{\"boots\": {}, \"toldByA\": {}, \"toldByB\": {}, \"leftAlone\": {}, \"startedAfterMs\": {}}},\n",
                     outcome.history.boots, json_text(ending.told[0]), json_text(ending.told[1]), ending.not_left_alone.empty(),
                     optional_ms(ending.started_at ? std::optional{ms_after_fault(outcome, *ending.started_at)} : std::nullopt));
}

std::string rough_as_text(const RoughRun& rough) {
  return fmt::format(
      "  rough times      {:.0f} s: {:.0f} % of the CPUs stolen, {} latency spikes, {} frames of the links lost\n"
      "  meanwhile        {} acknowledged; the peer found unfit {} times, gone on alone {} times\n",
      to_ms(rough.figures.lasted) / 1000, rough.figures.stolen_share * 100, rough.figures.spikes, rough.figures.frames_lost,
      rough.acknowledged_meanwhile, rough.verdicts, rough.alone);
}

std::string verdict_when_good(const Outcome& outcome) {
  if (outcome.fault == Fault::kRoughTimes) return "no host took another for failed: the guest stayed on host-a, and is protected";
  if (outcome.fault == Fault::kArbiterRestart)
    return "the arbiter came back with its record, and nobody had needed it: no role and no term changed, the guest ran on";
  if (outcome.fault == Fault::kIntruder)
    return fmt::format("{} attempts were refused, counted and named; no role and no term changed, the guest ran on",
                       outcome.intrusion->tried.size());
  if (outcome.fault == Fault::kLinksBack)
    return fmt::format("after the break host-b was sent {:.1f} MiB, and holds the same again; the guest stayed on host-a",
                       static_cast<double>(outcome.resync->sent_bytes) / (1 << 20));
  if (starts_afresh(outcome.fault))
    return "the guest started afresh on host-a, protected as before; nothing acknowledged is missing on its disk, and nobody took it over";
  return fmt::format("the guest goes on on {}; nothing acknowledged was lost or done twice, one host at a time answered",
                     kHosts[static_cast<std::size_t>(*survivor(outcome))]);
}

}  // namespace

std::string report_as_text(const Outcome& outcome) {
  std::string text = fmt::format("\n  {:>10}\n", "ms");
  for (const auto& entry : timeline(outcome))
    text += fmt::format("  {:>10.1f}  {:<7} {:<18} {}\n", ms_after_fault(outcome, entry.at), entry.who, entry.name, entry.text);

  const auto& history = outcome.history;
  text += fmt::format("\n  acknowledged     {} before the fault, {} after\n", outcome.acknowledged_before, outcome.acknowledged_after);
  text += fmt::format("  lost             {}\n  contradicted     {}\n  executed twice   {}\n  unanswered       {}\n", history.lost,
                      history.contradicted, history.executed_twice, outcome.unanswered);
  text += fmt::format("  on the disk      {} of {} acknowledged changes\n", outcome.log_records_checked - outcome.log_records_missing,
                      outcome.log_records_checked);
  if (outcome.linux_guest) text += linux_as_text(*outcome.linux_guest);
  if (outcome.ending) text += ending_as_text(outcome);
  if (outcome.rough) text += rough_as_text(*outcome.rough);
  if (outcome.arbiter)
    text += fmt::format("  without arbiter  {} acknowledged in {:.0f} ms\n  on its record    {}\n", outcome.arbiter->acknowledged_meanwhile,
                        ms_after_fault(outcome, outcome.arbiter->back_at), outcome.arbiter->record_after);
  if (outcome.intrusion) {
    for (const auto& tried : outcome.intrusion->tried)
      text += fmt::format("  {:<16} {}: {}\n", tried.where, tried.what, tried.told.empty() ? "NOT REFUSED" : tried.told);
  }
  text += fmt::format("  longest silence  {:.0f} ms, as the client saw it\n", to_ms(outcome.longest_silence));
  const auto& hosts = outcome.speakers.hosts;
  text += fmt::format("  on the wire      {} frames from host-a, {} from host-b, {} from a host after its successor\n", hosts[0].frames,
                      hosts[1].frames, outcome.speakers.late + outcome.speakers.late_committed);
  for (const NodeId id : kBothNodes) {
    const auto& status = outcome.statuses[static_cast<std::size_t>(id)];
    text += fmt::format("  {:<16} {}\n", kHosts[static_cast<std::size_t>(id)],
                        status ? fmt::format("{}, term {}: {}", status->role, status->term.raw(), status->reason) : "gone");
    if (const auto& said = outcome.replayed[static_cast<std::size_t>(id)]; !said.empty()) text += fmt::format("  {:<16} {}\n", "", said);
  }
  if (!outcome.compared.empty()) text += fmt::format("  compared         {}\n", outcome.compared);
  text += '\n';
  for (const auto& example : history.examples) text += fmt::format("  history: {}\n", example);
  for (const auto& example : outcome.speakers.examples) text += fmt::format("  wire: {}\n", example);
  const auto against = shortcomings(outcome);
  for (const auto& sentence : against) text += fmt::format("  against it: {}\n", sentence);

  if (against.empty())
    text += fmt::format("verdict: GOOD: {}: {}\n", name_of(outcome.fault), verdict_when_good(outcome));
  else
    text += fmt::format("verdict: BAD: {}: {}\n", name_of(outcome.fault), against.front());
  return text;
}

std::string report_as_json(const Outcome& outcome) {
  std::string events;
  for (const auto& entry : timeline(outcome))
    events += fmt::format("{}\n    {{\"ms\": {:.3f}, \"who\": {}, \"name\": {}, \"text\": {}}}", events.empty() ? "" : ",",
                          ms_after_fault(outcome, entry.at), json_text(entry.who), json_text(entry.name), json_text(entry.text));
  std::string against;
  for (const auto& sentence : shortcomings(outcome)) against += (against.empty() ? "" : ", ") + json_text(sentence);
  const auto last = survivor(outcome);
  const auto& history = outcome.history;
  const auto& speakers = outcome.speakers;
  return fmt::format(
      "{{\n  \"fault\": {}, \"good\": {}, \"against\": [{}],\n"
      "  \"survivor\": {},\n"
      "  \"acknowledged\": {{\"before\": {}, \"after\": {}, \"unanswered\": {}}},\n"
      "  \"lost\": {}, \"contradicted\": {}, \"executedTwice\": {},\n"
      "  \"disk\": {{\"checked\": {}, \"missing\": {}}},\n"
      "  \"wire\": {{\"hostA\": {}, \"hostB\": {}, \"late\": {}, \"lateCommitted\": {}, \"missed\": {}}},\n"
      "{}{}"
      "  \"longestSilenceMs\": {:.3f},\n"
      "  \"faultToDetectedMs\": {}, \"faultToFirstPacketMs\": {}, \"restoreToFirstInstructionMs\": {},\n"
      "  \"timeline\": [{}\n  ]\n}}\n",
      json_text(name_of(outcome.fault)), against.empty(), against, last ? json_text(kHosts[static_cast<std::size_t>(*last)]) : "null",
      outcome.acknowledged_before, outcome.acknowledged_after, outcome.unanswered, history.lost, history.contradicted,
      history.executed_twice, outcome.log_records_checked, outcome.log_records_missing, speakers.hosts[0].frames, speakers.hosts[1].frames,
      speakers.late, speakers.late_committed, outcome.frames_missed,
      outcome.linux_guest ? linux_as_json(*outcome.linux_guest) : std::string{}, outcome.ending ? ending_as_json(outcome) : std::string{},
      to_ms(outcome.longest_silence), optional_ms(between_ms(outcome, "fault", "detected")),
      optional_ms(between_ms(outcome, "fault", "first packet")), optional_ms(between_ms(outcome, "granted", "first-instruction")), events);
}

}  // namespace understudy::lab
