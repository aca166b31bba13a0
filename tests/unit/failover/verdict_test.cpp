#include "failover/verdict.h"

#include <gtest/gtest.h>

namespace understudy {
namespace {

using std::chrono::milliseconds;

constexpr VerdictLimits kLimits{.silent_after = milliseconds{400},
                                .stalled_after = milliseconds{1500},
                                .evidence_max_age = milliseconds{700},
                                .storage_max_age = milliseconds{1600}};

struct Case {
  const char* name;
  milliseconds silence{0};
  std::optional<Duration> progress{};
  std::vector<PathEvidence> evidence{};
  Condition expected = Condition::kHealthy;
  std::optional<ProbePath> path{};
  const char* text = "";
  std::optional<std::vector<PathEvidence>> other{};
  std::vector<PathEvidence> seen{};
};

PathEvidence nic(Health health, int age_ms = 10, const char* text = "") {
  return {ProbePath::kServiceNic, health, milliseconds{age_ms}, text};
}
PathEvidence storage(Health health, int age_ms = 10, const char* text = "") {
  return {ProbePath::kStorage, health, milliseconds{age_ms}, text};
}

PathEvidence kernel(Health health, int age_ms = 10, const char* text = "") {
  return {ProbePath::kKernel, health, milliseconds{age_ms}, text};
}
// No answer from beyond the host, or one.
PathEvidence no_echo() { return {ProbePath::kServiceNic, Health::kDegraded, milliseconds{10}, "no echo", true, true}; }
PathEvidence echo() { return {ProbePath::kServiceNic, Health::kHealthy, milliseconds{10}, "", false, true}; }
PathEvidence oops() { return {ProbePath::kKernel, Health::kDegraded, milliseconds{10}, "Oops", true, false}; }

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
      {.name = "storage may take longer", .evidence = {storage(Health::kHealthy, 1600)}},
      {.name = "... and not for ever",
       .evidence = {storage(Health::kHealthy, 1601)},
       .expected = Condition::kFailed,
       .path = ProbePath::kStorage,
       .text = "storage failed: its probe has not answered for 1601 ms"},
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
      {.name = "each lost path is named",
       .evidence = {nic(Health::kFailed, 10, "eth1: no carrier"), storage(Health::kFailed, 10, "EIO"), kernel(Health::kDegraded)},
       .expected = Condition::kFailed,
       .path = ProbePath::kServiceNic,
       .text = "service NIC failed: eth1: no carrier; storage failed: EIO"},
      {.name = "what is only watched does not grow old", .evidence = {kernel(Health::kHealthy, 60'000), storage(Health::kHealthy)}},
      {.name = "a suspicion where nothing is known of the other node",
       .evidence = {oops()},
       .expected = Condition::kDegraded,
       .path = ProbePath::kKernel,
       .text = "kernel suspected: Oops"},
      {.name = "... where the other node is well",
       .evidence = {oops()},
       .expected = Condition::kFailed,
       .path = ProbePath::kKernel,
       .text = "kernel failed: Oops",
       .other = {{kernel(Health::kHealthy, 60'000)}}},
      {.name = "... where it does not look",
       .evidence = {oops()},
       .expected = Condition::kFailed,
       .path = ProbePath::kKernel,
       .text = "kernel failed: Oops",
       .other = {{storage(Health::kHealthy)}}},
      {.name = "... where it is as sick",
       .evidence = {oops()},
       .expected = Condition::kDegraded,
       .path = ProbePath::kKernel,
       .text = "kernel suspected: Oops",
       .other = {{oops()}}},
      {.name = "... where it is degraded",
       .evidence = {oops()},
       .expected = Condition::kDegraded,
       .path = ProbePath::kKernel,
       .text = "kernel suspected: Oops",
       .other = {{kernel(Health::kDegraded)}}},
      {.name = "no echo here, and one there",
       .evidence = {no_echo()},
       .expected = Condition::kFailed,
       .path = ProbePath::kServiceNic,
       .text = "service NIC failed: no echo",
       .other = {{echo()}}},
      {.name = "no echo on either: nobody's fault",
       .evidence = {no_echo()},
       .expected = Condition::kDegraded,
       .path = ProbePath::kServiceNic,
       .text = "service NIC suspected: no echo",
       .other = {{no_echo()}}},
      {.name = "no echo here, and there nobody asks for one",
       .evidence = {no_echo()},
       .expected = Condition::kDegraded,
       .path = ProbePath::kServiceNic,
       .text = "service NIC suspected: no echo",
       .other = {{nic(Health::kHealthy)}}},
      {.name = "no echo here, and what the other says of its own is old",
       .evidence = {no_echo()},
       .expected = Condition::kDegraded,
       .path = ProbePath::kServiceNic,
       .text = "service NIC suspected: no echo",
       .other = {{PathEvidence{ProbePath::kServiceNic, Health::kHealthy, milliseconds{900}, "", false, true}}}},
      {.name = "a failure needs no comparison",
       .evidence = {nic(Health::kFailed)},
       .expected = Condition::kFailed,
       .path = ProbePath::kServiceNic,
       .text = "service NIC failed",
       .other = {{nic(Health::kFailed)}}},
      {.name = "what is seen from outside is never worse than degraded",
       .evidence = {nic(Health::kHealthy)},
       .expected = Condition::kDegraded,
       .path = ProbePath::kReceive,
       .text = "receive degraded: 3 damaged",
       .seen = {{ProbePath::kReceive, Health::kDegraded, milliseconds{1}, "3 damaged"}}},
  };
  for (const Case& one : cases) {
    const Verdict verdict = judge(
        {.since_sign_of_life = one.silence, .since_progress = one.progress, .evidence = one.evidence, .other = one.other, .seen = one.seen},
        kLimits);
    EXPECT_EQ(verdict.condition, one.expected) << one.name;
    EXPECT_EQ(verdict.path, one.path) << one.name;
    EXPECT_EQ(verdict.text, one.text) << one.name;
  }
}

}  // namespace
}  // namespace understudy
