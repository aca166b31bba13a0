#include "tests/lab/redis_workload.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "net/base/check.h"

namespace understudy::lab {

namespace {

std::string command_of(const RedisExchange& exchange) {
  switch (exchange.kind) {
    case RedisExchange::Kind::kSet:
      return resp_command({"SET", redis_key(exchange.number), redis_value(exchange.number)});
    case RedisExchange::Kind::kIncrement:
      return resp_command({"INCR", kRedisCounter});
    case RedisExchange::Kind::kGet:
      return resp_command({"GET", redis_key(exchange.number)});
    case RedisExchange::Kind::kGetCounter:
      return resp_command({"GET", kRedisCounter});
    case RedisExchange::Kind::kCountKeys:
      return resp_command({"DBSIZE"});
  }
  return {};
}

}  // namespace

std::string redis_key(std::uint64_t number) { return fmt::format("lab:key:{}", number); }

// Long enough that a torn or swapped page shows, and different for each key.
std::string redis_value(std::uint64_t number) { return fmt::format("value {0} {1:016x} {0}", number, number * 0x9E3779B97F4A7C15ULL); }

RedisWorkload::RedisWorkload(const Options& options) : options_{options} { US_CHECK(options.window >= 1); }

void RedisWorkload::pump(Instant now, std::string& out) {
  while (asked_.size() < options_.window && !(reading_back_ && to_read_.empty()) && take_turn(now)) {
    auto exchange = next();
    exchange.sent_at = now;
    out += command_of(exchange);
    asked_.push_back(std::move(exchange));
  }
}

// Paced on average: what could not be asked while the service was silent is made up for only in part.
bool RedisWorkload::take_turn(Instant now) {
  constexpr int kBurst = 16;
  if (options_.pace == Duration{} || reading_back_) return true;
  if (now < next_turn_) return false;
  next_turn_ = std::max(next_turn_, now - kBurst * options_.pace) + options_.pace;
  return true;
}

Instant RedisWorkload::next_due() const {
  const bool may_ask = asked_.size() < options_.window && !reading_back_;
  return may_ask ? next_turn_ : Instant::max();
}

RedisExchange RedisWorkload::next() {
  constexpr std::uint64_t kIncrementEvery = 4;
  RedisExchange exchange;
  if (reading_back_) {
    exchange = std::move(to_read_.front());
    to_read_.pop_front();
  } else if (++commands_ % kIncrementEvery == 0) {
    exchange.kind = RedisExchange::Kind::kIncrement;
    exchange.number = ++increments_;
  } else {
    exchange.kind = RedisExchange::Kind::kSet;
    exchange.number = ++sets_;
  }
  return exchange;
}

Result<void> RedisWorkload::take(std::string_view bytes, Instant now) {
  received_ += bytes;
  std::string_view rest = received_;
  while (true) {
    US_ASSIGN(auto reply, take_resp(rest));
    if (!reply) break;
    if (asked_.empty()) return Error{ErrorCode::kCorrupt, "Redis answered " + reply->describe() + " and nothing was asked"};
    auto exchange = std::move(asked_.front());
    asked_.pop_front();
    exchange.answered_at = now;
    exchange.reply = std::move(*reply);
    if (exchange.is_write()) ++acknowledged_writes_;
    exchanges_.push_back(std::move(exchange));
  }
  received_.erase(0, received_.size() - rest.size());
  return {};
}

void RedisWorkload::read_back() {
  if (std::exchange(reading_back_, true)) return;
  const auto ask = [this](RedisExchange::Kind kind, std::uint64_t number) {
    RedisExchange& exchange = to_read_.emplace_back();
    exchange.kind = kind;
    exchange.number = number;
  };
  for (std::uint64_t number = 1; number <= sets_; ++number) ask(RedisExchange::Kind::kGet, number);
  ask(RedisExchange::Kind::kGetCounter, 0);
  ask(RedisExchange::Kind::kCountKeys, 0);
}

}  // namespace understudy::lab
