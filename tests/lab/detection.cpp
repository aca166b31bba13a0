#include "tests/lab/detection.h"

#include <algorithm>
#include <array>
#include <string_view>

#include <fmt/format.h>

#include "tests/lab/machines.h"
#include "tests/lab/outcome.h"

namespace understudy::lab {

namespace {

constexpr std::string_view kOnPeer = "the peer is ";
constexpr std::string_view kFailed = " failed";
constexpr std::array kUnfit{"failed", "stalled", "silent"};
constexpr const char* kRow = "{:<22} {:<10} {:<9} {:<16} {:>10} {:>15} {:>5}  {}";

const char* side_of(const Outcome& outcome) { return outcome.struck == NodeId::kA ? "primary" : "secondary"; }
std::string observer_of(const Outcome& outcome) { return kHosts[static_cast<std::size_t>(peer_of(outcome.struck))]; }

bool names(std::string_view text, std::string_view path) {
  return text.find(std::string{path} + std::string{kFailed}) != std::string_view::npos;
}

std::optional<double> ms_since_fault(const Outcome& outcome, const std::optional<Instant>& at) {
  return at ? std::optional{to_ms(*at - outcome.fault_at)} : std::nullopt;
}
std::optional<double> verdict_ms(const Outcome& outcome) {
  return outcome.verdict ? ms_since_fault(outcome, outcome.verdict->at) : std::nullopt;
}

}  // namespace

std::optional<FoundVerdict> verdict_on_peer(std::span<const NodeEvent> events, Instant since) {
  for (const NodeEvent& event : events) {
    std::string_view rest = event.text;
    if (event.at < since || event.kind != "verdict" || !rest.starts_with(kOnPeer)) continue;
    rest.remove_prefix(kOnPeer.size());
    const std::string_view condition = rest.substr(0, rest.find(':'));
    if (std::ranges::find(kUnfit, condition) == kUnfit.end()) continue;
    rest.remove_prefix(std::min(rest.size(), condition.size() + 2));  // ": "
    const auto path_ends = condition == "failed" ? rest.find(kFailed) : std::string_view::npos;
    return FoundVerdict{.at = event.at,
                        .condition = std::string{condition},
                        .path = path_ends == std::string_view::npos ? "" : std::string{rest.substr(0, path_ends)},
                        .text = std::string{rest}};
  }
  return std::nullopt;
}

std::vector<std::string> shortcomings_of_detection(const Outcome& outcome) {
  const auto asked = detection_of(outcome.fault);
  if (!asked) return {};
  const std::string on_whom = observer_of(outcome) + " on " + kHosts[static_cast<std::size_t>(outcome.struck)];
  if (!outcome.verdict) return {"there was no verdict of " + on_whom};
  const auto right = [&](std::string_view condition, std::string_view text) {
    if (asked->paths.empty()) return condition == "silent";
    return condition == "failed" && std::ranges::any_of(asked->paths, [&](std::string_view path) { return names(text, path); });
  };
  std::vector<std::string> found;
  if (!right(outcome.verdict->condition, outcome.verdict->text))
    found.push_back(fmt::format("the verdict of {} is wrong: {}: {}", on_whom, outcome.verdict->condition, outcome.verdict->text));
  const std::string_view told = outcome.verdict_told;
  if (!right(told.substr(0, told.find(':')), told))
    found.push_back(fmt::format("the status of {} says of its peer: {}", observer_of(outcome), told));
  return found;
}

bool over_the_aim(const Outcome& outcome) {
  const auto asked = detection_of(outcome.fault);
  if (!asked) return false;
  const double aim_ms = to_ms(asked->aim);
  return verdict_ms(outcome).value_or(0) > aim_ms || ms_since_fault(outcome, outcome.first_reply_after).value_or(0) > aim_ms;
}

std::string detection_as_json(const Outcome& outcome) {
  const auto number = [](const std::optional<double>& ms) { return ms ? fmt::format("{:.1f}", *ms) : "null"; };
  // Names and conditions are ours or the product's words: nothing in them needs escaping.
  return fmt::format(
      R"({{"fault": "{}", "side": "{}", "verdict": "{}", "path": "{}", "verdict_ms": {}, "first_packet_ms": {}, "lost": {}}})",
      name_of(outcome.fault), side_of(outcome), outcome.verdict ? outcome.verdict->condition : "none",
      outcome.verdict ? outcome.verdict->path : "", number(verdict_ms(outcome)), number(ms_since_fault(outcome, outcome.first_reply_after)),
      outcome.history.lost);
}

std::string detection_as_text(const Outcome& outcome) {
  const auto number = [](const std::optional<double>& ms) { return ms ? fmt::format("{:.0f}", *ms) : "-"; };
  const auto against = shortcomings(outcome);
  std::string judgement = "good";
  if (!against.empty())
    judgement = "BAD: " + against.front();
  else if (over_the_aim(outcome))
    judgement = fmt::format("good, but over the aim of {:.0f} s", to_ms(detection_of(outcome.fault)->aim) / 1000);
  return fmt::format(kRow, name_of(outcome.fault), side_of(outcome), outcome.verdict ? outcome.verdict->condition : "none",
                     outcome.verdict && !outcome.verdict->path.empty() ? outcome.verdict->path : "-", number(verdict_ms(outcome)),
                     number(ms_since_fault(outcome, outcome.first_reply_after)), outcome.history.lost, judgement);
}

std::string detection_heading() {
  return fmt::format(kRow, "fault", "side", "verdict", "path", "verdict ms", "first packet ms", "lost", "");
}

}  // namespace understudy::lab
