#include "tests/lab/redis_history.h"

#include <cstdlib>
#include <string>
#include <unordered_map>

#include <fmt/format.h>

namespace understudy::lab {

namespace {

using Reply = RespValue::Kind;

class RedisJudge {
 public:
  void see(const RedisExchange& exchange) {
    switch (exchange.kind) {
      case RedisExchange::Kind::kSet:
        ++sets_;
        ++findings_.acknowledged;
        if (!exchange.reply.is(Reply::kSimple, "OK")) contradicts(exchange, "SET", "+OK");
        break;
      case RedisExchange::Kind::kIncrement:
        ++findings_.acknowledged;
        increment(exchange);
        break;
      case RedisExchange::Kind::kGet:
        read(exchange, redis_key(exchange.number), redis_value(exchange.number));
        break;
      case RedisExchange::Kind::kGetCounter:
        if (counted_ > 0) read(exchange, std::string{kRedisCounter}, std::to_string(counted_));
        break;
      case RedisExchange::Kind::kCountKeys: {
        const auto expected = static_cast<std::int64_t>(sets_ + (counted_ > 0 ? 1 : 0));
        // Missing keys are counted one by one where they are read; here is where one that nobody wrote shows.
        if (exchange.reply.kind != Reply::kInteger || exchange.reply.integer > expected)
          contradicts(exchange, "DBSIZE", fmt::format(":{}", expected));
        break;
      }
    }
  }
  HistoryFindings findings() && {
    findings_.last_sequence = findings_.acknowledged;
    return std::move(findings_);
  }

 private:
  void increment(const RedisExchange& exchange) {
    const auto expected = static_cast<std::int64_t>(counted_ + 1);
    const auto& reply = exchange.reply;
    if (reply.kind != Reply::kInteger || reply.integer < 1) return contradicts(exchange, "INCR", fmt::format(":{}", expected));
    if (reply.integer != expected) {
      const bool went_back = reply.integer < expected;
      (went_back ? findings_.lost : findings_.executed_twice) += static_cast<std::uint64_t>(std::abs(expected - reply.integer));
      example(fmt::format("increment {} was answered {}: {}", exchange.number, reply.describe(),
                          went_back ? "increments before it are gone" : "increments ran that nobody was told of"));
    }
    counted_ = static_cast<std::uint64_t>(reply.integer);
  }
  void read(const RedisExchange& exchange, const std::string& key, const std::string& expected) {
    if (exchange.reply.is(Reply::kBulk, expected)) return;
    if (exchange.reply.kind != Reply::kNull) return contradicts(exchange, "GET " + key, '"' + expected + '"');
    ++findings_.lost;
    example(fmt::format("{} is gone; its write was acknowledged", key));
  }
  void contradicts(const RedisExchange& exchange, const std::string& command, const std::string& expected) {
    ++findings_.contradicted;
    example(fmt::format("{} was answered {}, not {}", command, exchange.reply.describe(), expected));
  }
  void example(std::string sentence) {
    if (findings_.examples.size() < HistoryFindings::kMaxExamples) findings_.examples.push_back(std::move(sentence));
  }

  HistoryFindings findings_;
  std::uint64_t sets_ = 0;
  std::uint64_t counted_ = 0;  // as the latest increment was told
};

}  // namespace

HistoryFindings judge_redis(std::span<const RedisExchange> exchanges) {
  RedisJudge judge;
  for (const auto& exchange : exchanges) judge.see(exchange);
  return std::move(judge).findings();
}

DiskLogFindings judge_append_only_file(std::string_view file, std::span<const RedisExchange> exchanges) {
  std::unordered_map<std::string, std::string> held;
  std::uint64_t increments = 0;
  // What follows the first byte that is no command is not replayed by Redis either.
  while (true) {
    const auto command = take_resp(file);
    if (!command || !*command || (*command)->kind != Reply::kArray) break;
    const auto& words = (*command)->items;
    if (words.size() == 3 && words[0].is(Reply::kBulk, "SET")) held[words[1].text] = words[2].text;
    if (words.size() == 2 && words[0].is(Reply::kBulk, "INCR") && words[1].is(Reply::kBulk, kRedisCounter)) ++increments;
  }

  DiskLogFindings findings;
  std::uint64_t acknowledged_increments = 0;
  for (const auto& exchange : exchanges) {
    if (!exchange.is_write()) continue;
    ++findings.checked;
    if (exchange.kind == RedisExchange::Kind::kIncrement) {
      if (++acknowledged_increments > increments) ++findings.missing;
      continue;
    }
    const auto found = held.find(redis_key(exchange.number));
    if (found == held.end() || found->second != redis_value(exchange.number)) ++findings.missing;
  }
  return findings;
}

}  // namespace understudy::lab
