// What the lab's Redis client asks over its one connection: numbered writes, counted increments, and at the end everything back.
//
// Loop-owned and without socket or clock: the caller brings time and bytes. Answers come in the order of the questions, so each needs no
// name. A key is written once, so what it must hold needs no history.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "net/base/clock.h"
#include "net/base/result.h"
#include "tests/lab/resp.h"

namespace understudy::lab {

inline constexpr std::string_view kRedisCounter = "lab:counter";

struct RedisExchange {
  enum class Kind : std::uint8_t {
    kSet,        // key of `number` to its value
    kIncrement,  // the counter, for the `number`th time
    kGet,        // the key of `number` back
    kGetCounter,
    kCountKeys,  // how many keys there are
  };
  Kind kind = Kind::kSet;
  std::uint64_t number = 0;  // from 1
  Instant sent_at;
  Instant answered_at;
  RespValue reply;

  bool is_write() const { return kind == Kind::kSet || kind == Kind::kIncrement; }
};

std::string redis_key(std::uint64_t number);
std::string redis_value(std::uint64_t number);

class RedisWorkload {
 public:
  struct Options {
    std::size_t window = 4;                        // unanswered commands at a time, at least 1
    Duration pace = std::chrono::milliseconds{4};  // between new commands, on average; zero: as fast as they are answered
  };
  explicit RedisWorkload(const Options& options);

  // Appends the commands that are due to `out`, which the caller sends in this order and whole.
  void pump(Instant now, std::string& out);
  // When pump() may have something new; far away if only an answer can change that.
  Instant next_due() const;

  // Bytes from the server, in order. kCorrupt: they are no RESP, or answer what nobody asked; the connection is of no use then.
  Result<void> take(std::string_view bytes, Instant now);

  // No further writes: every key and the counter are read once more, the keys are counted, then nothing follows.
  void read_back();
  bool finished() const { return reading_back_ && to_read_.empty() && asked_.empty(); }

  std::size_t unanswered() const { return asked_.size(); }
  std::uint64_t acknowledged_writes() const { return acknowledged_writes_; }
  // Answered, in the order of the commands.
  const std::vector<RedisExchange>& exchanges() const { return exchanges_; }

 private:
  RedisExchange next();
  bool take_turn(Instant now);

  const Options options_;
  std::uint64_t commands_ = 0;
  std::uint64_t sets_ = 0;
  std::uint64_t increments_ = 0;
  std::uint64_t acknowledged_writes_ = 0;
  std::deque<RedisExchange> asked_;
  std::vector<RedisExchange> exchanges_;
  std::string received_;  // bytes of an answer that is not whole yet
  bool reading_back_ = false;
  std::deque<RedisExchange> to_read_;
  Instant next_turn_ = Instant::min();
};

}  // namespace understudy::lab
