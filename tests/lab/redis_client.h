// The client machine's Redis client: a thread that runs the workload over one TCP connection, which it opens once and never again.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "net/base/addresses.h"
#include "net/base/clock.h"
#include "net/base/result.h"
#include "net/base/unique_fd.h"
#include "tests/lab/redis_workload.h"

namespace understudy::lab {

inline constexpr std::uint16_t kRedisPort = 6379;

class RedisClient {
 public:
  // Opens the connection inside `network_namespace` and starts asking at once. kTimeout, kUnavailable: no connection.
  static Result<std::unique_ptr<RedisClient>> start(const Clock& clock, const std::string& network_namespace, Ipv4Address server,
                                                    const RedisWorkload::Options& options, Duration deadline);
  ~RedisClient();
  RedisClient(const RedisClient&) = delete;
  RedisClient& operator=(const RedisClient&) = delete;

  // Writes acknowledged so far. Any thread.
  std::uint64_t acknowledged() const { return acknowledged_.load(std::memory_order_relaxed); }

  // Lets the workload read back and stops when all is answered, or after `deadline`. What follows below is the caller's afterwards.
  void finish(Duration deadline);
  const RedisWorkload& workload() const { return workload_; }
  // When the last write was sent: what follows is the reading back.
  Instant reading_back_since() const { return reading_back_since_; }
  // Why the connection ended; empty: it lived to the end.
  const std::string& connection_ended() const { return connection_ended_; }

 private:
  RedisClient(const Clock& clock, UniqueFd socket, const RedisWorkload::Options& options);
  void run();
  Result<void> send();
  Result<void> receive();

  const Clock& clock_;
  const UniqueFd socket_;
  std::atomic<std::uint64_t> acknowledged_{0};
  std::atomic<std::int64_t> give_up_at_ns_{INT64_MAX};  // finish() sets it
  RedisWorkload workload_;                              // the thread's, until it is joined, like all below
  std::string unsent_;
  Instant reading_back_since_{};
  std::string connection_ended_;
  std::thread thread_;
};

// One command over a connection of its own, and its answer. kTimeout after `deadline`. In `network_namespace`, wherever the caller is.
Result<RespValue> ask_redis(const Clock& clock, const std::string& network_namespace, Ipv4Address server, const std::string& command,
                            Duration deadline);

}  // namespace understudy::lab
