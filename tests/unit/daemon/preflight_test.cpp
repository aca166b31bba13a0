// Would a takeover work now: the answer, and what is missing.
#include "failover/daemon/preflight.h"

#include <algorithm>

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

constexpr NodeIncarnation kA{NodeId::kA, Incarnation{101}};
constexpr NodeIncarnation kB{NodeId::kB, Incarnation{202}};

PreflightFacts of_primary() {
  PreflightFacts facts;
  facts.self = NodeId::kA;
  facts.node.role = Role::kPrimary;
  facts.node.self = kA;
  facts.node.is_protected = facts.node.peer_heard = facts.node.peer_image_whole = true;
  facts.node.since_commit = milliseconds{12};
  facts.arbiter = "the witness at tcp://10.0.0.3:7003";
  facts.arbiter_answered = milliseconds{2};
  facts.record = ArbiterRecord{Term{2}, PairMode::kPair, kA, {kA, kB}, RequestId{1}};
  facts.detect = milliseconds{400};
  return facts;
}
PreflightFacts of_secondary() {
  PreflightFacts facts = of_primary();
  facts.self = NodeId::kB;
  facts.node.role = Role::kSecondary;
  facts.node.self = kB;
  facts.node.is_protected = false;
  facts.node.image_whole = true;
  facts.restore = milliseconds{30};
  return facts;
}

std::string bad_of(const Preflight& preflight) {
  std::string text;
  for (const auto& check : preflight.checks)
    if (check.grade == PreflightCheck::Grade::kBad) text += check.found + "\n";
  return text;
}

TEST(Preflight, AWholePairSaysYesOnBothNodes) {
  for (const auto& facts : {of_primary(), of_secondary()}) {
    const Preflight preflight = judge_preflight(facts);
    EXPECT_EQ(preflight.answer, PreflightAnswer::kYes) << bad_of(preflight);
    EXPECT_EQ(preflight.by, NodeId::kB);
    EXPECT_THAT(preflight.lost, HasSubstr("nothing that anyone has seen"));
    EXPECT_EQ(preflight.arbitrate, milliseconds{4});
  }
  EXPECT_EQ(judge_preflight(of_secondary()).restore, milliseconds{30});
  EXPECT_FALSE(judge_preflight(of_primary()).restore) << "known on the other host";
}

TEST(Preflight, EachThingThatIsMissingIsNamed) {
  const struct {
    const char* says;
    PreflightFacts facts;
    std::function<void(PreflightFacts&)> lacks;
  } cases[] = {
      {"runs here alone", of_primary(), [](auto& facts) { facts.node.role = Role::kSolo; }},
      {"node b is silent for 900 ms", of_primary(),
       [](auto& facts) { facts.node.peer_heard = false, facts.node.peer_silence = milliseconds{900}; }},
      {"does not hold a whole image", of_primary(), [](auto& facts) { facts.node.peer_image_whole = false; }},
      {"node b is failed: storage failed", of_primary(),
       [](auto& facts) {
         facts.node.verdict_on_peer = {Condition::kFailed, ProbePath::kStorage, "storage failed"};
       }},
      {"the guest is over", of_primary(), [](auto& facts) { facts.node.ended = "it powered off"; }},
      {"does not answer: no route", of_primary(), [](auto& facts) { facts.arbiter_answered.reset(), facts.arbiter_trouble = "no route"; }},
      {"held by alice", of_primary(), [](auto& facts) { facts.node.hold = {.revision = 1, .held = true, .by = "alice", .reason = ""}; }},
      {"holds no whole image", of_secondary(), [](auto& facts) { facts.node.image_whole = false; }},
      {"not eligible by the arbiter's record", of_secondary(), [](auto& facts) { facts.record->eligible = {kA}; }},
      {"this node is failed: service NIC", of_secondary(),
       [](auto& facts) {
         facts.node.verdict_on_self = {Condition::kFailed, ProbePath::kServiceNic, "service NIC"};
       }},
      {"the guest is over", of_secondary(), [](auto& facts) { facts.node.ended = "it powered off"; }},
      {"does not answer", of_secondary(), [](auto& facts) { facts.arbiter_answered.reset(); }},
      {"held by alice", of_secondary(), [](auto& facts) { facts.node.hold = {.revision = 1, .held = true, .by = "alice", .reason = ""}; }},
      {"this node is fenced", of_secondary(), [](auto& facts) { facts.node.role = Role::kFenced; }},
  };
  for (const auto& one : cases) {
    PreflightFacts facts = one.facts;
    one.lacks(facts);
    const Preflight preflight = judge_preflight(facts);
    EXPECT_EQ(preflight.answer, PreflightAnswer::kNo) << one.says;
    EXPECT_THAT(bad_of(preflight), HasSubstr(one.says));
    for (const auto& check : preflight.checks)
      EXPECT_TRUE(check.grade != PreflightCheck::Grade::kBad || !check.mend.empty()) << check.found;
  }
}

TEST(Preflight, WithoutAThirdPlaceItSaysThatSomebodyMustGrant) {
  PreflightFacts facts = of_secondary();
  facts.manual = true;
  const Preflight preflight = judge_preflight(facts);
  EXPECT_EQ(preflight.answer, PreflightAnswer::kYes);
  EXPECT_TRUE(
      std::ranges::any_of(preflight.checks, [](const auto& check) { return check.mend.find("understudy grant") != std::string::npos; }));
}

TEST(Preflight, AStartingNodeCantTell) {
  PreflightFacts facts = of_secondary();
  facts.node.role = Role::kStarting;
  EXPECT_EQ(judge_preflight(facts).answer, PreflightAnswer::kCannotTell);
}

TEST(Preflight, IsTextForPeopleAndJsonForScripts) {
  PreflightFacts facts = of_secondary();
  facts.waiting_frames = 3;
  const auto forms = [&] {
    capnp::MallocMessageBuilder message;
    write_preflight(judge_preflight(facts), message.initRoot<schema::Preflight>());
    const auto reader = message.getRoot<schema::Preflight>().asReader();
    return std::pair{preflight_as_text(reader), preflight_as_json(reader)};
  };
  EXPECT_THAT(forms().first, testing::StartsWith("yes: a takeover by node b would work now\n"));
  EXPECT_THAT(forms().first, HasSubstr("3 frames that wait for their commit are not sent"));
  EXPECT_THAT(forms().first, HasSubstr("400 ms to detect a silent host, 4 ms to be granted, 30 ms to run"));
  EXPECT_THAT(forms().second, HasSubstr("\"answer\": \"yes\""));
  EXPECT_THAT(forms().second, HasSubstr("\"restoreMs\": 30"));
  facts.restore.reset();
  facts.node.image_whole = false;
  EXPECT_THAT(forms().first, testing::StartsWith("NO: "));
  EXPECT_THAT(forms().first, HasSubstr("not known to run"));
  EXPECT_THAT(forms().second, HasSubstr("\"restoreMs\": -1"));
}

}  // namespace
}  // namespace understudy
