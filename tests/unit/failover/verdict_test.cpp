#include "failover/verdict.h"

#include <gtest/gtest.h>

namespace understudy {
namespace {

using std::chrono::milliseconds;

constexpr VerdictLimits kLimits{
    .silent_after = milliseconds{400}, .stalled_after = milliseconds{1500}, .evidence_max_age = milliseconds{700}};

struct Case {
  const char* name;
  milliseconds silence{0};
  std::optional<Duration> progress{};
  std::vector<PathEvidence> evidence{};
  Condition expected = Condition::kHealthy;
  std::optional<ProbePath> path{};
  const char* text = "";
};

PathEvidence nic(Health health, int age_ms = 10, const char* text = "") {
  return {ProbePath::kServiceNic, health, milliseconds{age_ms}, text};
}
PathEvidence storage(Health health, int age_ms = 10, const char* text = "") {
  return {ProbePath::kStorage, health, milliseconds{age_ms}, text};
}

TEST(Verdict, Table) {
  const Case cases[] = {
      {.name = "nothing configured", .text = ""},
      {.name = "all well", .progress = milliseconds{30}, .evidence = {nic(Health::kHealthy), storage(Health::kHealthy)}},
      {.name = "silence at the limit is none", .silence = milliseconds{400}},
      {.name = "silent", .silence = milliseconds{401}, .expected = Condition::kSilent, .text = "silent for 401 ms"},
      {.name = "silence is worse than a failed path",
       .silence = milliseconds{500},
       .evidence = {nic(Health::kFailed)},
       .expected = Condition::kSilent,
       .text = "silent for 500 ms"},
      {.name = "failed path named with its reason",
       .evidence = {nic(Health::kFailed, 10, "eth1: no carrier"), storage(Health::kHealthy)},
       .expected = Condition::kFailed,
       .path = ProbePath::kServiceNic,
       .text = "service NIC failed: eth1: no carrier"},
      {.name = "second path failed",
       .evidence = {nic(Health::kHealthy), storage(Health::kFailed)},
       .expected = Condition::kFailed,
       .path = ProbePath::kStorage,
       .text = "storage failed"},
      {.name = "a probe that stopped answering has failed, however well it was",
       .evidence = {nic(Health::kHealthy, 701)},
       .expected = Condition::kFailed,
       .path = ProbePath::kServiceNic,
       .text = "service NIC failed: its probe has not answered for 701 ms"},
      {.name = "never answered, and due",
       .evidence = {nic(Health::kUnknown, 800)},
       .expected = Condition::kFailed,
       .path = ProbePath::kServiceNic,
       .text = "service NIC failed: its probe has not answered for 800 ms"},
      {.name = "never answered, and not due yet",
       .evidence = {nic(Health::kUnknown, 100)},
       .expected = Condition::kDegraded,
       .path = ProbePath::kServiceNic,
       .text = "service NIC not proven yet"},
      {.name = "failed is worse than stalled",
       .progress = milliseconds{2000},
       .evidence = {storage(Health::kFailed)},
       .expected = Condition::kFailed,
       .path = ProbePath::kStorage,
       .text = "storage failed"},
      {.name = "stalled",
       .progress = milliseconds{1501},
       .evidence = {nic(Health::kDegraded)},
       .expected = Condition::kStalled,
       .text = "alive, but no epoch committed for 1501 ms"},
      {.name = "degraded",
       .progress = milliseconds{30},
       .evidence = {nic(Health::kHealthy), storage(Health::kDegraded, 10, "canary took 90 ms")},
       .expected = Condition::kDegraded,
       .path = ProbePath::kStorage,
       .text = "storage degraded: canary took 90 ms"},
  };
  for (const Case& one : cases) {
    const Verdict verdict = judge({.since_sign_of_life = one.silence, .since_progress = one.progress, .evidence = one.evidence}, kLimits);
    EXPECT_EQ(verdict.condition, one.expected) << one.name;
    EXPECT_EQ(verdict.path, one.path) << one.name;
    EXPECT_EQ(verdict.text, one.text) << one.name;
  }
}

}  // namespace
}  // namespace understudy
