// Several boots of one service are judged each by itself, and one follows the other.
#include "tests/lab/boots.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/lab/at_ms.h"

namespace understudy::lab {
namespace {

using guest::KvOperation;

// The service as one boot runs it: additions to one key.
class OneBoot {
 public:
  explicit OneBoot(std::uint32_t boot) : boot_{boot} {}

  // Sent at `sent_ms`, answered 5 ms later.
  AcknowledgedReply run(std::uint64_t id, std::int64_t sent_ms) {
    const guest::KvRequest request{guest::kKvRequestMagic, 0, id, static_cast<std::uint32_t>(KvOperation::kAdd), 3, 1};
    ++sequence_;
    checksum_ = guest::next_checksum(checksum_, request, sequence_);
    return {.request = request,
            .reply = {guest::kKvReplyMagic, 0, id, 0, boot_, sequence_, sequence_, checksum_},
            .first_sent_at = at_ms(sent_ms),
            .received_at = at_ms(sent_ms + 5)};
  }

 private:
  const std::uint32_t boot_;
  std::uint64_t sequence_ = 0;
  std::uint64_t checksum_ = guest::kKvInitialChecksum;
};

class Boots : public testing::Test {
 protected:
  void asked(OneBoot& boot, std::uint64_t id, std::int64_t sent_ms) { replies_.push_back(boot.run(id, sent_ms)); }
  HistoryFindings judge(std::uint64_t unanswered = 0) const { return judge_boots(replies_, unanswered); }

  OneBoot first_{70};
  OneBoot second_{71};
  std::vector<AcknowledgedReply> replies_;
};

TEST_F(Boots, EachStartsItsHistoryAnew) {
  for (const std::uint64_t id : {1U, 2U, 3U}) asked(first_, id, static_cast<std::int64_t>(10 * id));
  for (const std::uint64_t id : {4U, 5U}) asked(second_, id, static_cast<std::int64_t>(100 + 10 * id));
  const auto findings = judge();
  EXPECT_TRUE(findings.clean()) << testing::PrintToString(findings.examples);
  EXPECT_EQ(findings.boots, 2U);
  EXPECT_EQ(findings.acknowledged, 5U);
  EXPECT_EQ(findings.last_sequence, 2U);
}

TEST_F(Boots, WhatTheClientRepeatedMayRunInBoth) {
  asked(first_, 1, 10);
  first_.run(2, 20);  // executed, and its reply was lost with the boot
  asked(first_, 3, 21);
  asked(second_, 3, 22);  // a repetition that the first boot had answered in the meantime
  asked(second_, 2, 20);
  const auto findings = judge();
  EXPECT_TRUE(findings.clean()) << testing::PrintToString(findings.examples);
  EXPECT_EQ(findings.acknowledged, 3U);
}

TEST_F(Boots, AnExecutionThatNobodyAskedForIsFoundInEither) {
  for (OneBoot* const boot : {&first_, &second_}) {
    OneBoot other{boot == &first_ ? 71U : 70U};
    replies_.clear();
    OneBoot damaged = *boot;
    asked(damaged, 1, 10);
    damaged.run(1, 10);
    asked(damaged, 2, 20);
    asked(other, 3, 50);
    EXPECT_EQ(judge().executed_twice, 1U);
    EXPECT_TRUE(judge(1).clean()) << "one that is unanswered explains it";
  }
}

TEST_F(Boots, ABootThatWasFollowedIsNotHeardAgain) {
  asked(first_, 1, 10);
  asked(second_, 2, 50);
  asked(first_, 3, 60);
  const auto findings = judge();
  EXPECT_EQ(findings.contradicted, 1U);
  EXPECT_THAT(findings.examples, testing::Contains(testing::HasSubstr("answered by boot 1, and boot 2 had answered")));
}

TEST_F(Boots, OneBootIsJudgedAsEver) {
  asked(first_, 1, 10);
  OneBoot forked{70};
  asked(forked, 2, 20);
  EXPECT_FALSE(judge().clean());
  EXPECT_EQ(judge().boots, 1U);
  EXPECT_EQ(judge_boots({}, 0).boots, 0U);
}

}  // namespace
}  // namespace understudy::lab
