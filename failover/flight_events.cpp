// What of a step a person would want to be told.
#include <iterator>
#include <string_view>

#include "failover/flight_recorder.h"

namespace understudy {

namespace {

class Teller {
 public:
  Teller(const NodeStatus& after, Instant now, std::int64_t realtime_ns) : after_{after}, now_{now}, realtime_ns_{realtime_ns} {}

  void tell(Severity severity, std::string kind, std::string text) {
    if (text.size() > kMaxFlightText) text.resize(kMaxFlightText);
    events_.push_back({.serial = 0,
                       .at = now_,
                       .realtime_ns = realtime_ns_,
                       .term = after_.term,
                       .role = understudy::name_of(after_.role),
                       .severity = severity,
                       .kind = std::move(kind),
                       .text = std::move(text)});
  }

  void operator()(const action::LogEvent& log) {
    if (log.severity == Severity::kDebug) return;
    std::string text;
    for (const auto& [key, value] : log.fields) {
      if (!text.empty()) text += ", ";
      // A lone reason speaks for itself.
      text += log.fields.size() == 1 ? value : key + "=" + value;
    }
    tell(log.severity, log.event, std::move(text));
  }
  void operator()(const action::Timeline& mark) { tell(Severity::kInfo, action::name_of(mark.milestone), mark.text); }
  void operator()(const action::CommandResult& result) {
    tell(result.ok ? Severity::kInfo : Severity::kWarning, result.ok ? "command done" : "command refused", result.sentence);
  }
  void operator()(const action::StopGuest& stop) { tell(Severity::kWarning, "guest stopped here", stop.reason); }
  void operator()(const auto&) {}

  // A verdict is told when its condition or path changes: its text carries ages and counts.
  void verdict(std::string_view whose, const Verdict& before, const Verdict& after) {
    if (before.condition == after.condition && before.path == after.path) return;
    std::string text{whose};
    text += " is ";
    text += understudy::name_of(after.condition);
    if (!after.text.empty()) text += ": " + after.text;
    tell(after.condition == Condition::kHealthy ? Severity::kInfo : Severity::kWarning, "verdict", std::move(text));
  }

  std::vector<FlightEvent> take() { return std::move(events_); }

 private:
  const NodeStatus& after_;
  const Instant now_;
  const std::int64_t realtime_ns_;
  std::vector<FlightEvent> events_;
};

}  // namespace

std::vector<FlightEvent> events_of(const NodeStatus& before, const Input& input, std::span<const Action> actions, const NodeStatus& after,
                                   Instant now, std::int64_t realtime_ns) {
  Teller teller{after, now, realtime_ns};
  if (const auto* const started = std::get_if<input::Started>(&input))
    teller.tell(Severity::kInfo, "started",
                "incarnation " + std::to_string(started->self.incarnation.raw()) + ", stored term " + std::to_string(started->term.raw()) +
                    ", promise " + std::to_string(started->promise.raw()));
  if (const auto* const command = std::get_if<input::Command>(&input)) teller.tell(Severity::kInfo, "command", name_of(command->kind));
  if (const auto* const failed = std::get_if<input::GuestFailed>(&input)) teller.tell(Severity::kError, "guest failed", failed->reason);
  teller.verdict("this host", before.verdict_on_self, after.verdict_on_self);
  teller.verdict("the peer", before.verdict_on_peer, after.verdict_on_peer);
  for (const Action& action : actions) std::visit(teller, action);
  if (before.role != after.role || before.term != after.term)
    teller.tell(Severity::kInfo, "role",
                std::string{understudy::name_of(after.role)} + ", term " + std::to_string(after.term.raw()) + ": " + after.why);
  else if (before.is_protected != after.is_protected)
    teller.tell(after.is_protected ? Severity::kInfo : Severity::kWarning, after.is_protected ? "protected" : "not protected", after.why);
  if (before.arbiter_answers != after.arbiter_answers)
    teller.tell(after.arbiter_answers ? Severity::kInfo : Severity::kWarning, "arbiter",
                after.arbiter_answers ? "answers again" : "does not answer");
  return teller.take();
}

}  // namespace understudy
