#include "tests/lab/redis_client.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <poll.h>

#include <sys/socket.h>

#include "tests/lab/client_socket.h"

namespace understudy::lab {

namespace {

Result<UniqueFd> connect_to_redis(const Clock& clock, const std::string& network_namespace, Ipv4Address server, Instant deadline) {
  US_ASSIGN(auto socket, open_client_socket(network_namespace, Transport::kTcp, server, kRedisPort));
  if (!wait_for(socket, POLLOUT, clock, deadline))
    return Error{ErrorCode::kTimeout, "connect to Redis on " + server.text() + ": no answer"};
  US_TRY(socket_error(socket, "connect to Redis on " + server.text()));
  return socket;
}

// What has arrived; empty: nothing for now. An error: the connection is over.
Result<std::string> read_what_is_there(const UniqueFd& socket) {
  std::string text;
  std::array<char, 16384> buffer;
  while (true) {
    const auto received = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
    if (received > 0) {
      text.append(buffer.data(), static_cast<std::size_t>(received));
      continue;
    }
    if (received < 0 && (errno == EAGAIN || errno == EINTR)) return text;
    if (!text.empty()) return text;  // the end is seen by the next call
    if (received == 0) return Error{ErrorCode::kUnavailable, "Redis closed the connection"};
    return Error::from_errno("read from Redis");
  }
}

}  // namespace

Result<std::unique_ptr<RedisClient>> RedisClient::start(const Clock& clock, const std::string& network_namespace, Ipv4Address server,
                                                        const RedisWorkload::Options& options, Duration deadline) {
  US_ASSIGN(auto socket, connect_to_redis(clock, network_namespace, server, clock.now() + deadline));
  std::unique_ptr<RedisClient> client{new RedisClient{clock, std::move(socket), options}};
  client->thread_ = std::thread{[raw = client.get()] { raw->run(); }};
  return client;
}

RedisClient::RedisClient(const Clock& clock, UniqueFd socket, const RedisWorkload::Options& options)
    : clock_{clock}, socket_{std::move(socket)}, workload_{options} {}

RedisClient::~RedisClient() { finish(Duration{0}); }

void RedisClient::finish(Duration deadline) {
  give_up_at_ns_ = to_ns(clock_.now() + deadline);
  if (thread_.joinable()) thread_.join();
}

void RedisClient::run() {
  constexpr Duration kLongestWait = std::chrono::milliseconds{20};
  bool reading_back = false;
  while (true) {
    const Instant now = clock_.now();
    const std::int64_t give_up_at_ns = give_up_at_ns_.load();
    if (give_up_at_ns != INT64_MAX && !reading_back) {
      reading_back = true;
      reading_back_since_ = now;
      workload_.read_back();
    }
    if (workload_.finished() || to_ns(now) >= give_up_at_ns) return;
    workload_.pump(now, unsent_);
    if (auto sent = send(); !sent) {
      connection_ended_ = sent.error().text();
      return;
    }
    const Instant wake_at = std::min(workload_.next_due(), clock_.now() + kLongestWait);
    wait_for(socket_, static_cast<short>(unsent_.empty() ? POLLIN : POLLIN | POLLOUT), clock_, wake_at);
    if (auto received = receive(); !received) {
      connection_ended_ = received.error().text();
      return;
    }
  }
}

Result<void> RedisClient::send() {
  while (!unsent_.empty()) {
    const auto sent = ::send(socket_.get(), unsent_.data(), unsent_.size(), MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return {};
    if (sent < 0) return Error::from_errno("write to Redis");
    unsent_.erase(0, static_cast<std::size_t>(sent));
  }
  return {};
}

Result<void> RedisClient::receive() {
  US_ASSIGN(const auto bytes, read_what_is_there(socket_));
  US_TRY(workload_.take(bytes, clock_.now()));
  acknowledged_.store(workload_.acknowledged_writes(), std::memory_order_relaxed);
  return {};
}

Result<RespValue> ask_redis(const Clock& clock, const std::string& network_namespace, Ipv4Address server, const std::string& command,
                            Duration deadline) {
  const Instant give_up_at = clock.now() + deadline;
  US_ASSIGN(const auto socket, connect_to_redis(clock, network_namespace, server, give_up_at));
  if (::send(socket.get(), command.data(), command.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(command.size()))
    return Error::from_errno("write to Redis");
  std::string received;
  while (true) {
    std::string_view rest = received;
    US_ASSIGN(auto reply, take_resp(rest));
    if (reply) return std::move(*reply);
    if (!wait_for(socket, POLLIN, clock, give_up_at)) return Error{ErrorCode::kTimeout, "Redis on " + server.text() + " gave no answer"};
    US_ASSIGN(const auto bytes, read_what_is_there(socket));
    received += bytes;
  }
}

}  // namespace understudy::lab
