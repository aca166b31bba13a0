// The history's judge finds each kind of damage that it is there for, and nothing in a whole history.
#include "tests/lab/history.h"

#include <array>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/lab/at_ms.h"

namespace understudy::lab {
namespace {

using guest::KvOperation;
using guest::KvReply;
using guest::KvRequest;

// A service as it should be, which also forks: a copy of it is the service at an earlier epoch.
class Service {
 public:
  AcknowledgedReply run(std::uint32_t client, std::uint64_t id, KvOperation operation, std::uint32_t key, std::uint64_t value) {
    const KvRequest request{guest::kKvRequestMagic, client, id, static_cast<std::uint32_t>(operation), key, value};
    auto& stored = values_[key];
    if (operation == KvOperation::kPut) stored = value;
    if (operation == KvOperation::kAdd) stored += value;
    checksum_ = guest::next_checksum(checksum_, request, stored);
    ++sequence_;
    return {.request = request,
            .reply = {guest::kKvReplyMagic, client, id, 0, 1, stored, sequence_, checksum_},
            .first_sent_at = {},
            .received_at = {}};
  }

 private:
  std::array<std::uint64_t, 16> values_{};
  std::uint64_t checksum_ = guest::kKvInitialChecksum;
  std::uint64_t sequence_ = 0;
};

// Twelve requests of two clients on three keys; request i is sent at 10 i ms and answered 5 ms later.
std::vector<AcknowledgedReply> whole_history(Service& service, std::uint64_t first = 0, std::uint64_t count = 12) {
  std::vector<AcknowledgedReply> replies;
  for (std::uint64_t i = first; i < first + count; ++i) {
    const auto operation = i % 3 == 0 ? KvOperation::kPut : i % 3 == 1 ? KvOperation::kAdd : KvOperation::kGet;
    replies.push_back(service.run(static_cast<std::uint32_t>(i % 2), i / 2 + 1, operation, static_cast<std::uint32_t>(i % 5), 100 + i));
  }
  return replies;
}

void stamp(std::vector<AcknowledgedReply>& replies) {
  for (std::size_t i = 0; i < replies.size(); ++i) {
    replies[i].first_sent_at = at_ms(static_cast<std::int64_t>(10 * i));
    replies[i].received_at = at_ms(static_cast<std::int64_t>(10 * i + 5));
  }
}

std::vector<AcknowledgedReply> stamped_history() {
  Service service;
  auto replies = whole_history(service);
  stamp(replies);
  return replies;
}

TEST(History, AWholeHistoryIsClean) {
  const auto findings = judge_history(stamped_history(), 0);
  EXPECT_TRUE(findings.clean()) << testing::PrintToString(findings.examples);
  EXPECT_EQ(findings.acknowledged, 12U);
  EXPECT_EQ(findings.last_sequence, 12U);
}

TEST(History, ARepeatedReplyThatIsTheSameIsClean) {
  auto replies = stamped_history();
  replies.push_back(replies[4]);
  const auto findings = judge_history(replies, 0);
  EXPECT_TRUE(findings.clean());
  EXPECT_EQ(findings.acknowledged, 12U);
}

struct Damage {
  const char* name;
  std::function<void(std::vector<AcknowledgedReply>&)> plant;
  std::uint64_t lost, contradicted, executed_twice;
};

class HistoryDamage : public testing::TestWithParam<Damage> {};

TEST_P(HistoryDamage, IsFound) {
  auto replies = stamped_history();
  GetParam().plant(replies);
  const auto findings = judge_history(replies, 0);
  EXPECT_EQ(findings.lost, GetParam().lost) << testing::PrintToString(findings.examples);
  EXPECT_EQ(findings.contradicted, GetParam().contradicted) << testing::PrintToString(findings.examples);
  EXPECT_EQ(findings.executed_twice, GetParam().executed_twice) << testing::PrintToString(findings.examples);
  EXPECT_FALSE(findings.examples.empty());
}

const Damage kDamages[] = {
    {.name = "a_value_that_is_not_what_was_stored",
     .plant = [](auto& replies) { replies[5].reply.value ^= 1; },
     .lost = 0,
     .contradicted = 1,
     .executed_twice = 0},
    {.name = "an_addition_that_was_made_twice_and_told_once",
     .plant =
         [](auto& replies) {
           // The last addition's reply is consistent with its checksum, and not with the operations before it.
           auto& [request, reply, sent, received] = replies[10];
           reply.value += request.value;
           reply.state_checksum = guest::next_checksum(replies[9].reply.state_checksum, request, reply.value);
           replies.pop_back();
         },
     .lost = 0,
     .contradicted = 1,
     .executed_twice = 0},
    {.name = "a_checksum_of_another_past",
     .plant = [](auto& replies) { replies[11].reply.state_checksum ^= 1; },
     .lost = 0,
     .contradicted = 1,
     .executed_twice = 0},
    {.name = "an_execution_without_a_reply",
     .plant = [](auto& replies) { replies.erase(replies.begin() + 6); },
     .lost = 0,
     .contradicted = 0,
     .executed_twice = 1},
    {.name = "a_request_with_two_sequence_numbers",
     .plant =
         [](auto& replies) {
           replies.push_back(replies[3]);
           replies.back().reply.sequence = 13;
         },
     .lost = 0,
     .contradicted = 0,
     .executed_twice = 1},
    {.name = "a_repeated_reply_with_another_value",
     .plant =
         [](auto& replies) {
           replies.push_back(replies[3]);
           replies.back().reply.value ^= 1;
         },
     .lost = 0,
     .contradicted = 1,
     .executed_twice = 0},
    {.name = "a_guest_that_booted_again",
     .plant = [](auto& replies) { replies[11].reply.boot_count = 2; },
     .lost = 0,
     .contradicted = 1,
     .executed_twice = 0},
    {.name = "a_request_refused_as_too_old",
     .plant = [](auto& replies) { replies[11].reply.status = static_cast<std::uint32_t>(guest::KvStatus::kTooOld); },
     .lost = 0,
     .contradicted = 1,
     .executed_twice = 0},
    {.name = "an_answer_older_than_what_was_known_when_it_was_asked",
     .plant = [](auto& replies) { replies[4].first_sent_at = replies[8].received_at + Duration{1}; },
     .lost = 0,
     .contradicted = 1,
     .executed_twice = 0},
};
INSTANTIATE_TEST_SUITE_P(All, HistoryDamage, testing::ValuesIn(kDamages),
                         [](const auto& damage) { return std::string{damage.param.name}; });

// The secondary went on from an epoch before the last acknowledged reply: the sequence numbers are given out a second time.
TEST(History, ATakeoverFromTooOldAnEpochLosesReplies) {
  Service service;
  auto replies = whole_history(service, 0, 8);
  Service survivor = service;
  auto lost = whole_history(service, 8, 4);     // acknowledged by the primary, and not in the survivor
  auto after = whole_history(survivor, 20, 4);  // other requests with the same numbers
  replies.insert(replies.end(), lost.begin(), lost.end());
  replies.insert(replies.end(), after.begin(), after.end());
  stamp(replies);
  EXPECT_EQ(judge_history(replies, 0).lost, 4U);
}

// The same, seen when fewer requests followed than were lost: the lost ones stand at the end, and do not continue the chain.
TEST(History, RepliesBeyondTheSurvivorsHistoryAreLost) {
  Service service;
  auto replies = whole_history(service, 0, 8);
  Service survivor = service;
  auto lost = whole_history(service, 8, 4);
  auto after = whole_history(survivor, 20, 2);
  replies.insert(replies.end(), lost.begin(), lost.end());
  replies.insert(replies.end(), after.begin(), after.end());
  stamp(replies);
  const auto findings = judge_history(replies, 0);
  EXPECT_EQ(findings.lost, 4U) << testing::PrintToString(findings.examples);
  EXPECT_EQ(findings.contradicted, 0U) << testing::PrintToString(findings.examples);
}

TEST(History, AnUnansweredRequestExplainsOneExecution) {
  auto replies = stamped_history();
  replies.erase(replies.begin() + 6);
  EXPECT_TRUE(judge_history(replies, 1).clean());
  replies.erase(replies.begin() + 2);
  EXPECT_EQ(judge_history(replies, 1).executed_twice, 1U);
}

}  // namespace
}  // namespace understudy::lab
