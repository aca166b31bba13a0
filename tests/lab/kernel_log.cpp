#include "tests/lab/kernel_log.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

namespace understudy::lab {

namespace {

constexpr unsigned kWarning = 4;    // linux/kern_levels.h
constexpr unsigned kLevelBits = 7;  // below them the level, above the facility, which is 0 for the kernel itself
constexpr unsigned kUserFacility = 1;
constexpr std::uint64_t kLeapNs = 250'000'000;  // no takeover is shorter, seen from inside

// What the guest's init wrote to its console, if this line of the log holds such a thing.
std::optional<std::string_view> guest_said(std::string_view log_line) {
  constexpr std::string_view kPrefix = " line=\"guest: ";
  const auto start = log_line.find(kPrefix);
  if (log_line.find(" serial ") == std::string_view::npos || start == std::string_view::npos) return std::nullopt;
  const auto rest = log_line.substr(start + kPrefix.size());
  return rest.substr(0, rest.rfind('"'));
}

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

std::optional<std::uint64_t> take_number(std::string_view& text) {
  std::uint64_t number = 0;
  const auto [stop, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failed != std::errc{}) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(stop - text.data()));
  return number;
}

// "[   20.1] hrtimer: interrupt took N ns": of a processor that its host let wait in the middle of it, where ring 0 is emulated for tens of
// milliseconds; or of a clock that leapt over a takeover, which is for longer than any takeover takes.
bool is_slow_host(std::string_view text) {
  constexpr std::string_view kTook = "hrtimer: interrupt took ";
  const auto at = text.find(kTook);
  if (at == std::string_view::npos) return false;
  text.remove_prefix(at + kTook.size());
  const auto took_ns = take_number(text);
  return took_ns && *took_ns < kLeapNs && text == " ns";
}

// `line`: as `dmesg -r` prints it: "<6>[   12.345678] text".
bool is_complaint(std::string_view line) {
  static constexpr std::array<std::string_view, 6> kWords{"clocksource", "tsc:", "stall", "lockup", "hung", "unstable"};
  std::string_view rest = line;
  const auto priority = take_prefix(rest, "<") ? take_number(rest) : std::nullopt;
  if (!priority) return true;  // a line that is none of the kernel's speaks against it until someone has looked
  if (*priority / (kLevelBits + 1) == kUserFacility) return false;
  if (is_slow_host(rest)) return false;
  if ((*priority & kLevelBits) <= kWarning) return true;
  return std::ranges::any_of(kWords, [&](std::string_view word) { return line.find(word) != std::string_view::npos; });
}

}  // namespace

KernelLogFindings read_kernel_log(std::string_view daemon_log) {
  KernelLogFindings findings;
  std::optional<std::uint64_t> announced;
  std::uint64_t seen = 0;
  while (!daemon_log.empty()) {
    const auto end = std::min(daemon_log.find('\n'), daemon_log.size());
    auto said = guest_said(daemon_log.substr(0, end));
    daemon_log.remove_prefix(std::min(end + 1, daemon_log.size()));
    if (!said) continue;
    if (take_prefix(*said, "kernel log has ")) {
      announced = take_number(*said);
    } else if (take_prefix(*said, "kernel log: ")) {
      ++seen;
      if (is_complaint(*said)) findings.complaints.emplace_back(*said);
    } else if (*said == "at rest") {
      findings.at_rest = true;
    }
  }
  findings.lines = announced.value_or(0);
  findings.whole = announced && seen == *announced;
  return findings;
}

}  // namespace understudy::lab
