// Redis as the lab sees it: its protocol read without trust, the client's commands, and the judges with planted damage.
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/lab/at_ms.h"
#include "tests/lab/redis_history.h"
#include "tests/lab/redis_workload.h"
#include "tests/lab/resp.h"
#include "tests/lab/small_redis.h"

namespace understudy::lab {
namespace {

using Kind = RespValue::Kind;

RespValue number(std::int64_t value) { return {.kind = Kind::kInteger, .text = {}, .integer = value, .items = {}}; }
RespValue bulk(std::string text) { return {.kind = Kind::kBulk, .text = std::move(text), .items = {}}; }

struct RespCase {
  const char* name;
  std::string bytes;
  const char* value;  // described; empty: not whole yet; nullptr: no RESP
  std::size_t left;
};
class Resp : public testing::TestWithParam<RespCase> {};

TEST_P(Resp, IsRead) {
  std::string_view rest = GetParam().bytes;
  const auto taken = take_resp(rest);
  if (GetParam().value == nullptr) {
    EXPECT_FALSE(taken);
    return;
  }
  ASSERT_TRUE(taken) << taken.error().text();
  EXPECT_EQ(*taken ? (*taken)->describe() : "", GetParam().value);
  EXPECT_EQ(rest.size(), GetParam().left);
}

const RespCase kRespCases[] = {
    {"simple", "+OK\r\n+rest", "+OK", 5},
    {"error", "-ERR no\r\n", "-ERR no", 0},
    {"integer", ":-12\r\n", ":-12", 0},
    {"bulk", "$4\r\na\r\nb\r\n", "\"a\r\nb\"", 0},
    {"empty_bulk", "$0\r\n\r\n", "\"\"", 0},
    {"null", "$-1\r\n", "nil", 0},
    {"null_array", "*-1\r\n", "nil", 0},
    {"array", "*2\r\n$1\r\na\r\n:1\r\n", "an array of 2", 0},
    {"nothing", "", "", 0},
    {"half_a_line", "+O", "", 2},
    {"half_an_end", "+OK\r", "", 4},
    {"half_a_bulk", "$4\r\nab", "", 6},
    {"half_an_array", "*2\r\n$1\r\na\r\n", "", 11},
    {"no_type", "hello\r\n", nullptr, 0},
    {"no_number", ":1x\r\n", nullptr, 0},
    {"bulk_too_long", "$1048577\r\n", nullptr, 0},
    {"bulk_negative", "$-2\r\n", nullptr, 0},
    {"bulk_without_end", "$1\r\nabc", nullptr, 0},
    {"array_too_long", "*1025\r\n", nullptr, 0},
    {"nested", "*1\r\n*1\r\n:1\r\n", nullptr, 0},
    {"line_without_end", "+" + std::string(5000, 'x'), nullptr, 0},
};
INSTANTIATE_TEST_SUITE_P(All, Resp, testing::ValuesIn(kRespCases), [](const auto& one) { return std::string{one.param.name}; });

TEST(Resp, ACommandIsAnArrayOfBulkStrings) { EXPECT_EQ(resp_command({"GET", "k\r\n"}), "*2\r\n$3\r\nGET\r\n$3\r\nk\r\n\r\n"); }

std::string answered_by(SmallRedis& redis, std::string_view asked) { return redis.answer(asked); }

// Runs `turns` of the window against a healthy Redis, then the reading back.
std::vector<RedisExchange> healthy_run(int turns, std::string* append_only_file = nullptr) {
  RedisWorkload workload{{.window = 4, .pace = Duration{}}};
  SmallRedis redis;
  for (int turn = 0; turn < turns; ++turn) {
    std::string asked;
    workload.pump(at_ms(turn), asked);
    if (append_only_file != nullptr) *append_only_file += asked;
    EXPECT_TRUE(workload.take(answered_by(redis, asked), at_ms(turn)));
  }
  workload.read_back();
  while (!workload.finished()) {
    std::string asked;
    workload.pump(at_ms(turns), asked);
    EXPECT_TRUE(workload.take(answered_by(redis, asked), at_ms(turns)));
  }
  return workload.exchanges();
}

TEST(RedisWorkload, KeepsItsWindowAndTakesAnswersInPieces) {
  RedisWorkload workload{{.window = 4, .pace = Duration{}}};
  std::string asked;
  workload.pump(at_ms(1), asked);
  EXPECT_EQ(workload.unanswered(), 4U);
  std::string more;
  workload.pump(at_ms(2), more);
  EXPECT_EQ(more, "");
  EXPECT_TRUE(workload.take("+O", at_ms(3)));
  EXPECT_EQ(workload.unanswered(), 4U);
  EXPECT_TRUE(workload.take("K\r\n+OK\r\n:", at_ms(4)));
  EXPECT_EQ(workload.unanswered(), 2U);
  EXPECT_EQ(workload.acknowledged_writes(), 2U);
  EXPECT_EQ(workload.exchanges()[0].answered_at, at_ms(4));
}

TEST(RedisWorkload, AnAnswerThatNobodyAskedForIsAnError) {
  RedisWorkload workload{{}};
  EXPECT_FALSE(workload.take("+OK\r\n", at_ms(1)));
}

TEST(RedisWorkload, KeepsItsPaceAndMakesUpForASilenceOnlyInPart) {
  RedisWorkload workload{{.window = 1000, .pace = std::chrono::milliseconds{10}}};
  std::string asked;
  workload.pump(at_ms(0), asked);
  const auto at_start = workload.unanswered();
  workload.pump(at_ms(1), asked);
  EXPECT_EQ(workload.unanswered(), at_start);
  workload.pump(at_ms(10'000), asked);
  EXPECT_LE(workload.unanswered() - at_start, 20U);
}

TEST(RedisHistory, AHealthyRunIsClean) {
  std::string file;
  const auto exchanges = healthy_run(10, &file);
  const auto findings = judge_redis(exchanges);
  EXPECT_TRUE(findings.clean()) << testing::PrintToString(findings.examples);
  EXPECT_EQ(findings.acknowledged, 40U);
  const auto disk = judge_append_only_file(file, exchanges);
  EXPECT_EQ(disk.checked, 40U);
  EXPECT_EQ(disk.missing, 0U);
}

using Exchanges = std::vector<RedisExchange>;

RedisExchange& find(Exchanges& exchanges, RedisExchange::Kind kind, std::uint64_t number) {
  for (auto& exchange : exchanges) {
    if (exchange.kind == kind && exchange.number == number) return exchange;
  }
  ADD_FAILURE() << "no such exchange";
  return exchanges.front();
}

struct DamageCase {
  const char* name;
  std::function<void(Exchanges&)> damage;
  std::uint64_t lost, contradicted, executed_twice;
};
class RedisDamage : public testing::TestWithParam<DamageCase> {};

TEST_P(RedisDamage, IsFound) {
  auto exchanges = healthy_run(10);
  GetParam().damage(exchanges);
  const auto findings = judge_redis(exchanges);
  EXPECT_EQ(findings.lost, GetParam().lost);
  EXPECT_EQ(findings.contradicted, GetParam().contradicted);
  EXPECT_EQ(findings.executed_twice, GetParam().executed_twice);
  EXPECT_FALSE(findings.examples.empty());
}

const DamageCase kDamage[] = {
    {"key_gone", [](Exchanges& e) { find(e, RedisExchange::Kind::kGet, 7).reply = RespValue{}; }, 1, 0, 0},
    {"key_of_another", [](Exchanges& e) { find(e, RedisExchange::Kind::kGet, 7).reply = bulk(redis_value(8)); }, 0, 1, 0},
    {"key_torn", [](Exchanges& e) { find(e, RedisExchange::Kind::kGet, 7).reply.text.pop_back(); }, 0, 1, 0},
    {"write_refused",
     [](Exchanges& e) { find(e, RedisExchange::Kind::kSet, 3).reply = {.kind = Kind::kError, .text = "MISCONF disk", .items = {}}; }, 0, 1,
     0},
    {"write_answered_with_another_answer", [](Exchanges& e) { find(e, RedisExchange::Kind::kSet, 3).reply = number(3); }, 0, 1, 0},
    // Two increments went back: the history that goes on counts from there, so the counter at the end is what it should be.
    {"went_back",
     [](Exchanges& e) {
       for (std::uint64_t n = 6; n <= 10; ++n) find(e, RedisExchange::Kind::kIncrement, n).reply.integer -= 2;
       find(e, RedisExchange::Kind::kGetCounter, 0).reply = bulk("8");
     },
     2, 0, 0},
    {"ran_twice",
     [](Exchanges& e) {
       for (std::uint64_t n = 6; n <= 10; ++n) find(e, RedisExchange::Kind::kIncrement, n).reply.integer += 1;
       find(e, RedisExchange::Kind::kGetCounter, 0).reply = bulk("11");
     },
     0, 0, 1},
    {"counter_at_the_end", [](Exchanges& e) { find(e, RedisExchange::Kind::kGetCounter, 0).reply = bulk("9"); }, 0, 1, 0},
    {"key_that_nobody_set", [](Exchanges& e) { find(e, RedisExchange::Kind::kCountKeys, 0).reply = number(32); }, 0, 1, 0},
};
INSTANTIATE_TEST_SUITE_P(All, RedisDamage, testing::ValuesIn(kDamage), [](const auto& one) { return std::string{one.param.name}; });

TEST(AppendOnlyFile, WhatIsMissingOrChangedOrBehindDamageIsCounted) {
  std::string file;
  const auto exchanges = healthy_run(10, &file);
  const auto missing = [&](const std::string& damaged) { return judge_append_only_file(damaged, exchanges).missing; };
  EXPECT_EQ(missing(""), 40U);
  const std::string set = resp_command({"SET", redis_key(5), redis_value(5)});
  std::string without = file;
  without.erase(without.find(set), set.size());
  EXPECT_EQ(missing(without), 1U);
  std::string changed = file;
  changed[changed.find(redis_value(5))] ^= 1;
  EXPECT_EQ(missing(changed), 1U);
  std::string torn = file;
  torn[torn.find(set)] = '!';
  EXPECT_GE(missing(torn), 30U);
  const std::string increment = resp_command({"INCR", kRedisCounter});
  std::string fewer = file;
  fewer.erase(fewer.find(increment), increment.size());
  EXPECT_EQ(missing(fewer), 1U);
}

}  // namespace
}  // namespace understudy::lab
