// The clients keep their windows, repeat only what is unanswered, and read back what they touched.
#include "tests/lab/workload.h"

#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/lab/at_ms.h"

namespace understudy::lab {
namespace {

std::vector<guest::KvRequest> pump(Workload& workload, Instant now) {
  std::vector<guest::KvRequest> sent;
  workload.pump(now, [&](const guest::KvRequest& request) { sent.push_back(request); });
  return sent;
}

bool answer(Workload& workload, const guest::KvRequest& request, Instant now, std::uint32_t boot = 1) {
  const guest::KvReply reply{.magic = guest::kKvReplyMagic,
                             .client = request.client,
                             .id = request.id,
                             .status = 0,
                             .boot_count = boot,
                             .value = 0,
                             .sequence = 1,
                             .state_checksum = 0};
  return workload.take(std::as_bytes(std::span{&reply, 1}), now);
}

TEST(Workload, FillsEachClientsWindowAndNoMore) {
  Workload workload{{.clients = 3, .window = 2}};
  EXPECT_EQ(pump(workload, at_ms(0)).size(), 6U);
  EXPECT_TRUE(pump(workload, at_ms(1)).empty());
  EXPECT_EQ(workload.unanswered(), 6U);
}

TEST(Workload, RepeatsUnansweredRequestsUnchanged) {
  Workload workload{{.clients = 1, .window = 2}};
  const auto first = pump(workload, at_ms(0));
  ASSERT_TRUE(answer(workload, first[0], at_ms(10)));
  const auto next = pump(workload, at_ms(10));
  ASSERT_EQ(next.size(), 1U);  // the freed place
  EXPECT_EQ(workload.next_due(), at_ms(50));
  const auto again = pump(workload, at_ms(50));
  ASSERT_EQ(again.size(), 1U);
  EXPECT_EQ(std::memcmp(&again[0], &first[1], sizeof again[0]), 0);
}

TEST(Workload, NeverRunsAheadOfWhatTheGuestRemembers) {
  Workload workload{{.clients = 1, .window = 2}};
  const auto first = pump(workload, at_ms(0));
  auto newest = first[1];  // first[0] stays unanswered
  for (int i = 0; i < 200; ++i) {
    answer(workload, newest, at_ms(1));
    const auto next = pump(workload, at_ms(1));
    if (next.empty()) break;
    newest = next[0];
  }
  EXPECT_EQ(newest.id - first[0].id, guest::kKvRememberedReplies - 1);
}

TEST(Workload, NewRequestsArePacedAndASilenceIsMadeUpForOnlyInPart) {
  Workload workload{{.clients = 64, .window = 64, .retry_after = std::chrono::hours{1}, .pace = std::chrono::milliseconds{1}}};
  const auto at_start = pump(workload, at_ms(0)).size();
  EXPECT_EQ(at_start, 65U);  // the burst, and this moment's
  EXPECT_EQ(workload.next_due(), at_ms(1));
  EXPECT_TRUE(pump(workload, at_ms(0)).empty());
  EXPECT_EQ(pump(workload, at_ms(10)).size(), 10U);
  EXPECT_EQ(pump(workload, at_ms(1000)).size(), 65U);
}

TEST(Workload, KeepsRepeatedRepliesForTheJudgeAndRefusesStrangeOnes) {
  Workload workload{{.clients = 1, .window = 1}};
  const auto sent = pump(workload, at_ms(0));
  EXPECT_TRUE(answer(workload, sent[0], at_ms(1)));
  EXPECT_TRUE(answer(workload, sent[0], at_ms(2)));
  EXPECT_EQ(workload.replies().size(), 2U);
  auto strange = sent[0];
  strange.id = 77;
  EXPECT_FALSE(answer(workload, strange, at_ms(3)));
  strange.client = 9'999;
  EXPECT_FALSE(answer(workload, strange, at_ms(3)));
  EXPECT_FALSE(workload.take({}, at_ms(3)));
}

TEST(Workload, TellsOneBootToEndUntilAnotherAnswers) {
  Workload workload{{.clients = 1, .window = 1, .retry_after = std::chrono::milliseconds{50}}};
  const auto sent = pump(workload, at_ms(0));
  ASSERT_TRUE(answer(workload, sent[0], at_ms(1), 7));
  workload.end_guest(guest::GuestEnd::kPowerOff);
  const auto orders = [&](std::int64_t ms) {
    std::vector<guest::KvRequest> found;
    for (const auto& request : pump(workload, at_ms(ms))) {
      if (request.operation == static_cast<std::uint32_t>(guest::KvOperation::kEnd)) found.push_back(request);
    }
    return found;
  };
  const auto first = orders(10);
  ASSERT_EQ(first.size(), 1U);
  EXPECT_EQ(first[0].key, static_cast<std::uint32_t>(guest::GuestEnd::kPowerOff));
  EXPECT_EQ(first[0].value, 7U);
  EXPECT_TRUE(orders(59).empty());
  EXPECT_EQ(workload.next_due(), at_ms(60));
  EXPECT_EQ(orders(60).size(), 1U);
  answer(workload, sent[0], at_ms(61), 7);
  EXPECT_EQ(orders(110).size(), 1U) << "a reply of the boot that is to end";
  answer(workload, sent[0], at_ms(120), 8);
  EXPECT_TRUE(orders(500).empty());
}

TEST(Workload, ReadsBackEachTouchedKeyOnceAndFinishes) {
  Workload workload{{.clients = 2, .window = 4, .keys = 16}};
  std::set<std::uint32_t> touched;
  for (const auto& request : pump(workload, at_ms(0))) {
    touched.insert(request.key);
    answer(workload, request, at_ms(1));
  }
  workload.read_back();
  EXPECT_FALSE(workload.finished());
  std::multiset<std::uint32_t> read;
  for (int round = 0; round < 20 && !workload.finished(); ++round) {
    for (const auto& request : pump(workload, at_ms(2 + round))) {
      EXPECT_EQ(request.operation, static_cast<std::uint32_t>(guest::KvOperation::kGet));
      read.insert(request.key);
      answer(workload, request, at_ms(2 + round));
    }
  }
  EXPECT_TRUE(workload.finished());
  EXPECT_THAT(read, testing::ElementsAreArray(touched));
}

}  // namespace
}  // namespace understudy::lab
