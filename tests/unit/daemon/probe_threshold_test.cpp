// When findings count: the table of thresholds, and sequences of findings against what is said of them.
#include "failover/probe_threshold.h"

#include <string_view>

#include <gtest/gtest.h>

namespace understudy {
namespace {

// h: healthy, d: degraded, s: suspected, f: failed.
ProbeReport finding(char letter, int at_ms) {
  ProbeReport report;
  report.health = letter == 'h' ? Health::kHealthy : letter == 'f' ? Health::kFailed : Health::kDegraded;
  report.suspected = letter == 's';
  report.started_at = report.completed_at = Instant{std::chrono::milliseconds{at_ms}};
  report.text = letter;
  return report;
}
char letter_of(const ProbeReport& report) {
  switch (report.health) {
    case Health::kUnknown:
      return '?';
    case Health::kHealthy:
      return 'h';
    case Health::kDegraded:
      return report.suspected ? 's' : 'd';
    case Health::kFailed:
      return 'f';
  }
  return '?';
}

TEST(ProbeThreshold, Table) {
  const struct {
    const char* name;
    Hysteresis hysteresis;
    std::string_view found;
    std::string_view said;
  } cases[] = {
      {"at once, both ways", {1, 1}, "hfhf", "hfhf"},
      {"the first health is believed at once", {3, 3}, "h", "h"},
      {"the first failure is not", {3, 3}, "fff", "??f"},
      {"a single failure is no news", {2, 1}, "hfhfhf", "hhhhhh"},
      {"two in a row are", {2, 1}, "hffh", "hhfh"},
      {"well again only after three", {1, 3}, "hfhhfhhh", "hffffffh"},
      {"one that comes and goes stays failed", {1, 3}, "fhhfhhfhh", "fffffffff"},
      {"no worse than all of them were", {3, 1}, "hdff", "hhhd"},
      {"and worse when that lasts", {3, 1}, "hdfff", "hhhdf"},
      {"between degraded and suspected", {2, 2}, "hddssddhh", "hhddssddh"},
      {"a suspicion is better than a failure", {1, 2}, "fss", "ffs"},
      {"better in steps", {1, 2}, "fdhhh", "ffdhh"},
  };
  for (const auto& one : cases) {
    ProbeThreshold threshold{one.hysteresis};
    std::string said;
    int at = 0;
    for (const char letter : one.found) said += letter_of(threshold.take(finding(letter, ++at)));
    EXPECT_EQ(said, one.said) << one.name;
  }
}

TEST(ProbeThreshold, WhatIsNotBelievedYetProvesNothing) {
  ProbeThreshold threshold{{2, 2}};
  threshold.take(finding('h', 1));
  EXPECT_EQ(threshold.take(finding('f', 2)).started_at, Instant{std::chrono::milliseconds{1}})
      << "a failing exercise is no proof of health";
  EXPECT_EQ(threshold.take(finding('f', 3)).text, "f");
  const ProbeReport& better = threshold.take(finding('h', 4));
  EXPECT_EQ(better.health, Health::kFailed);
  EXPECT_EQ(better.completed_at, Instant{std::chrono::milliseconds{4}}) << "it was looked at, and is not silent";
}

TEST(ProbeThreshold, EveryKindHasNumbersThatFindAFailureInTime) {
  for (const ProbeTraits& traits : kProbeTraits) {
    EXPECT_GE(traits.hysteresis.failures, 1U);
    EXPECT_GE(traits.hysteresis.successes, traits.kind == ProbeKind::kCommand ? 1U : traits.hysteresis.failures);
  }
  // Gone, or an error: under a second, with the peer's own hold and the heartbeat still to come.
  for (const ProbeKind kind : {ProbeKind::kNic, ProbeKind::kStorage, ProbeKind::kGuestDisk}) {
    EXPECT_LE(traits_of(kind).period * traits_of(kind).hysteresis.failures, std::chrono::milliseconds{300});
    EXPECT_EQ(traits_of(kind).silence, Health::kFailed);
  }
}

}  // namespace
}  // namespace understudy
