#include "tests/lab/linux_findings.h"

#include <algorithm>

#include <fmt/format.h>

namespace understudy::lab {

namespace {

// Of a tool's or the kernel's words, as many as a sentence bears.
std::string in_short(const std::string& text) {
  constexpr std::size_t kMost = 240;
  std::string shown = text.substr(0, kMost);
  std::ranges::replace(shown, '\n', ' ');
  return shown;
}

}  // namespace

void count_pages(LinuxFindings& findings, std::span<const PageFetch> fetches, Instant fault_at) {
  for (const auto& fetch : fetches) {
    if (!fetch.wrong.empty())
      findings.pages_wrong.push_back(fmt::format("{:+.0f} ms from the fault: {}", to_ms(fetch.started_at - fault_at), fetch.wrong));
    else
      ++(fetch.ended_at < fault_at ? findings.pages_before : findings.pages_after);
  }
}

std::vector<std::string> shortcomings(const LinuxFindings& findings) {
  std::vector<std::string> found;
  const auto against = [&](bool wrong, std::string sentence) {
    if (wrong) found.push_back(std::move(sentence));
  };
  against(!findings.connection_ended.empty(), "the Redis client's connection did not live: " + findings.connection_ended);
  against(findings.pages_before == 0, "no web page came before the fault");
  against(findings.pages_after == 0, "no web page came after the fault");
  against(!findings.pages_wrong.empty(), fmt::format("{} web pages did not come as they should, the first {}", findings.pages_wrong.size(),
                                                     findings.pages_wrong.empty() ? "" : findings.pages_wrong.front()));
  const bool powered_off = findings.no_power_off.empty();
  against(!powered_off, "the guest did not power off: " + findings.no_power_off);
  against(!findings.file_system.empty(), "the survivor's file system is not clean: " + in_short(findings.file_system));
  const auto& log = findings.kernel_log;
  against(powered_off && !log.at_rest, "the guest's disk was not at rest when it powered off");
  against(powered_off && !log.whole, "the guest's kernel log did not reach the console whole");
  against(!log.complaints.empty(), fmt::format("the guest's kernel complained {} times, first: {}", log.complaints.size(),
                                               log.complaints.empty() ? "" : in_short(log.complaints.front())));
  return found;
}

}  // namespace understudy::lab
