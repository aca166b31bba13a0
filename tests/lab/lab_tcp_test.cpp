// The lab's Redis and web clients against stand-ins on the lab's real networks: a service that goes on is found right, and a connection
// that ends, a page that is cut and a server that is away are found. Runs inside tests/lab/lab.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/lab/child.h"
#include "tests/lab/http_client.h"
#include "tests/lab/lab_pair.h"
#include "tests/lab/redis_client.h"
#include "tests/lab/redis_history.h"
#include "tests/lab/small_redis.h"
#include "tests/lab/stand_in_server.h"
#include "tests/lab/tcp_streams.h"
#include "tests/lab/wire_tap.h"

namespace understudy::lab {
namespace {

constexpr std::uint16_t kHttpPort = 80;
constexpr Duration kHang = std::chrono::seconds{30};  // a bound against a hang alone

class LabTcp : public testing::Test {
 protected:
  void TearDown() override {
    for (const auto& host : kHosts) {
      [[maybe_unused]] const auto left =
          run_command(clock_, {"ip", "-n", host, "address", "flush", "dev", "br-svc"}, std::chrono::seconds{5});
    }
  }

  std::unique_ptr<StandInServer> server(std::uint16_t port, StandInServer::Service service) {
    auto started = StandInServer::start("host-a", port, std::move(service));
    EXPECT_TRUE(started) << started.error().text();
    return started ? std::move(*started) : nullptr;
  }
  std::unique_ptr<StandInServer> redis_server() {
    return server(kRedisPort, [redis = std::make_shared<SmallRedis>()](std::string_view& received) {
      return StandInServer::Answer{.bytes = redis->answer(received)};
    });
  }
  std::unique_ptr<RedisClient> redis_client() {
    auto started = RedisClient::start(clock_, kClientMachine, kGuestIp, {.pace = std::chrono::milliseconds{1}}, kHang);
    EXPECT_TRUE(started) << started.error().text();
    return started ? std::move(*started) : nullptr;
  }
  template <class Reached>
  void wait_until(Reached reached) {
    const Instant give_up_at = clock_.now() + kHang;
    while (!reached() && clock_.now() < give_up_at) std::this_thread::sleep_for(std::chrono::milliseconds{2});
    ASSERT_TRUE(reached());
  }

  const MonotonicClock clock_;
};

TEST_F(LabTcp, ARedisThatGoesOnIsCleanOverOneConnection) {
  auto wire = WireTap::start(clock_, {"a-svc", "b-svc"}, kGuestMac);
  ASSERT_TRUE(wire) << wire.error().text();
  auto redis = redis_server();
  auto client = redis_client();
  ASSERT_TRUE(redis && client);
  wait_until([&] { return client->acknowledged() >= 100; });
  client->finish(kHang);
  (*wire)->stop();
  const auto findings = judge_redis(client->workload().exchanges());
  EXPECT_TRUE(findings.clean()) << testing::PrintToString(findings.examples);
  EXPECT_GE(findings.acknowledged, 100U);
  EXPECT_TRUE(client->workload().finished());
  EXPECT_EQ(client->connection_ended(), "");
  EXPECT_EQ(redis->connections(), 1U);
  // What the tap saw is the connection: its segments are their own repetition.
  const TcpStreams streams{(*wire)->frames()};
  unsigned segments = 0;
  for (const auto& frame : (*wire)->frames()) {
    if (!frame.tcp || frame.tcp->reset) continue;
    ++segments;
    EXPECT_TRUE(streams.repeats(*frame.tcp));
  }
  EXPECT_GE(segments, 25U);
}

TEST_F(LabTcp, AConnectionThatEndsIsFound) {
  auto redis = redis_server();
  auto client = redis_client();
  ASSERT_TRUE(redis && client);
  wait_until([&] { return client->acknowledged() >= 10; });
  redis.reset();
  client->finish(kHang);
  EXPECT_NE(client->connection_ended(), "");
  EXPECT_FALSE(client->workload().finished());
}

TEST_F(LabTcp, AnAnswerThatIsNoRespIsFound) {
  auto redis = server(kRedisPort, [](std::string_view& received) {
    received = {};
    return StandInServer::Answer{.bytes = "garbage\r\n"};
  });
  auto client = redis_client();
  ASSERT_TRUE(redis && client);
  client->finish(kHang);
  EXPECT_THAT(client->connection_ended(), testing::HasSubstr("RESP"));
}

TEST_F(LabTcp, OneCommandIsAnsweredOrTimesOut) {
  auto redis = redis_server();
  const auto answer = ask_redis(clock_, kClientMachine, kGuestIp, resp_command({"DBSIZE"}), kHang);
  ASSERT_TRUE(answer) << answer.error().text();
  EXPECT_EQ(answer->describe(), ":0");
  redis.reset();
  EXPECT_FALSE(ask_redis(clock_, kClientMachine, kGuestIp, resp_command({"DBSIZE"}), std::chrono::seconds{2}));
}

TEST_F(LabTcp, PagesAreFetchedAndWhatIsWrongWithThemIsFound) {
  std::atomic<bool> cut{false};
  auto web = server(kHttpPort, [&](std::string_view& received) {
    if (received.find("\r\n\r\n") == std::string_view::npos) return StandInServer::Answer{};
    received = {};
    return StandInServer::Answer{.bytes = std::string{"HTTP/1.0 200 OK\r\n\r\n"} + (cut ? "pa" : "page"), .closes = true};
  });
  auto client =
      HttpClient::start(clock_, kClientMachine, kGuestIp, {.page = "page", .pace = std::chrono::milliseconds{5}, .patience = kHang});
  wait_until([&] { return web->connections() >= 5; });
  cut = true;
  const auto so_far = web->connections();
  wait_until([&] { return web->connections() >= so_far + 5; });
  web.reset();
  std::this_thread::sleep_for(std::chrono::milliseconds{50});
  client->finish();
  const auto& fetches = client->fetches();
  ASSERT_GE(fetches.size(), 9U);
  EXPECT_EQ(fetches.front().wrong, "");
  EXPECT_THAT(fetches[fetches.size() - 1].wrong, testing::HasSubstr("connect"));
  EXPECT_TRUE(
      std::ranges::any_of(fetches, [](const PageFetch& fetch) { return fetch.wrong.find("differs after 2") != std::string::npos; }));
}

}  // namespace
}  // namespace understudy::lab
