#include "failover/etcd_http.h"

#include <atomic>
#include <csignal>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "scripted_server.h"

namespace understudy {
namespace {

using testing::HasSubstr;
using Connection = ScriptedServer::Connection;

constexpr Duration kForever = std::chrono::seconds{60};
constexpr Duration kShort = std::chrono::milliseconds{50};

class EtcdHttpTest : public testing::Test {
 protected:
  EtcdHttpTest() { std::signal(SIGPIPE, SIG_IGN); }
  static std::unique_ptr<EtcdHttp> client(std::uint16_t port) {
    auto made = EtcdHttp::create({.tls = false, .host = "127.0.0.1", .port = port}, {});
    EXPECT_TRUE(made);
    return std::move(*made);
  }
  // What a client sees of a server that does this with each connection.
  static Result<std::string> one_request(ScriptedServer::Script script, Duration budget = kForever) {
    const ScriptedServer server{std::move(script)};
    return client(server.port())->post("/v3/kv/txn", "{}", budget);
  }
};

TEST_F(EtcdHttpTest, ARequestAndItsAnswerOverOneConnection) {
  std::string heard;  // the server's, until it has ended
  {
    const ScriptedServer server{[&](const Connection& it) {
      for (auto request = it.request(); !request.empty(); request = it.request()) {
        heard = request;
        it.answer("200 OK", R"({"a":1})");
      }
    }};
    const auto etcd = client(server.port());
    EXPECT_EQ(etcd->endpoint(), "http://127.0.0.1:" + std::to_string(server.port()));
    for (int i = 0; i < 3; ++i) {
      const auto answer = etcd->post("/v3/kv/txn", "{\"q\":2}", kForever);
      ASSERT_TRUE(answer) << answer.error().text();
      EXPECT_EQ(*answer, R"({"a":1})");
    }
    EXPECT_EQ(server.connections(), 1);
  }
  EXPECT_TRUE(heard.starts_with("POST /v3/kv/txn HTTP/1.1\r\n")) << heard;
  EXPECT_TRUE(heard.ends_with("\r\n\r\n{\"q\":2}")) << heard;
  EXPECT_THAT(heard, HasSubstr("Accept-Encoding: identity"));
}

TEST_F(EtcdHttpTest, AServerThatWasRestartedIsConnectedAnew) {
  const ScriptedServer server{[&](const Connection& it) {
    it.request();
    it.answer("200 OK", "{}");
  }};
  const auto etcd = client(server.port());
  for (int i = 0; i < 3; ++i) {
    // An end of the connection that crosses a request on its way shows as an error; the next one connects.
    auto answer = etcd->post("/", "{}", kForever);
    for (int tries = 0; !answer && tries < 3; ++tries) answer = etcd->post("/", "{}", kForever);
    EXPECT_TRUE(answer) << answer.error().text();
  }
  EXPECT_GE(server.connections(), 3);
}

TEST_F(EtcdHttpTest, WhatIsNoAnswer) {
  const struct {
    const char* name;
    ScriptedServer::Script script;
    ErrorCode code;
    const char* text;
  } cases[] = {
      {"hangs up at once", [](const Connection&) {}, ErrorCode::kUnavailable, ""},
      {"hangs up after the request", [](const Connection& it) { it.request(); }, ErrorCode::kUnavailable, ""},
      {"is no HTTP",
       [](const Connection& it) {
         it.request();
         it.send("220 smtp.example.com\r\n\r\n");
       },
       ErrorCode::kUnavailable, ""},
      {"has no leader",
       [](const Connection& it) {
         it.request();
         it.answer("503 Service Unavailable", R"({"message":"etcdserver: no leader"})");
       },
       ErrorCode::kUnavailable, "HTTP status 503: etcdserver: no leader"},
      {"does not know the path",
       [](const Connection& it) {
         it.request();
         it.answer("404 Not Found", "404 page not found");
       },
       ErrorCode::kCorrupt, "HTTP status 404"},
      {"sends us elsewhere",
       [](const Connection& it) {
         it.request();
         it.send("HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
       },
       ErrorCode::kCorrupt, "HTTP status 307"},
      {"announces too much",
       [](const Connection& it) {
         it.request();
         it.answer("200 OK", std::string(kMaxEtcdAnswerBytes + 1, ' '));
       },
       ErrorCode::kCorrupt, "an answer of more than 64 KiB"},
      {"never ends",
       [](const Connection& it) {
         it.request();
         it.send("HTTP/1.1 200 OK\r\n\r\n");
         while (it.send(std::string(4096, ' '))) {
         }
       },
       ErrorCode::kCorrupt, "an answer of more than 64 KiB"},
      {"ends half way",
       [](const Connection& it) {
         it.request();
         it.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{");
       },
       ErrorCode::kUnavailable, ""},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto answer = one_request(c.script);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code(), c.code) << answer.error().text();
    EXPECT_THAT(answer.error().text(), HasSubstr(c.text));
  }
}

TEST_F(EtcdHttpTest, TheDeadlineIsOfTheWholeRequest) {
  const struct {
    const char* name;
    ScriptedServer::Script script;
  } cases[] = {
      {"says nothing", [](const Connection& it) { it.until_gone(); }},
      {"drips its head",
       [](const Connection& it) {
         it.request();
         it.send("HTTP/1.1 200 OK\r\n");
         while (!it.over() && it.send("X: y\r\n")) std::this_thread::sleep_for(std::chrono::milliseconds{5});
       }},
      {"drips its body",
       [](const Connection& it) {
         it.request();
         it.send("HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n");
         while (!it.over() && it.send(" ")) std::this_thread::sleep_for(std::chrono::milliseconds{5});
       }},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const auto answer = one_request(c.script, kShort);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code(), ErrorCode::kTimeout) << answer.error().text();
    EXPECT_EQ(answer.error().text(), "no answer within 50 ms");
  }
}

TEST_F(EtcdHttpTest, TheDeadlineIsOfConnectingToo) {
  // A full backlog: Linux drops what else would connect.
  const UniqueFd listener{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  socklen_t size = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  ASSERT_EQ(::bind(listener.get(), generic, size), 0);
  ASSERT_EQ(::listen(listener.get(), 0), 0);
  ASSERT_EQ(::getsockname(listener.get(), generic, &size), 0);
  const UniqueFd first{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  ASSERT_EQ(::connect(first.get(), generic, size), 0);
  const auto answer = client(ntohs(address.sin_port))->post("/", "{}", kShort);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), ErrorCode::kTimeout) << answer.error().text();
}

TEST_F(EtcdHttpTest, AfterATimeoutTheNextRequestHasAConnectionOfItsOwn) {
  std::atomic<int> turn{0};
  const ScriptedServer server{[&](const Connection& it) {
    if (turn++ == 0) return static_cast<void>(it.until_gone());
    it.request();
    it.answer("200 OK", "{}");
  }};
  const auto etcd = client(server.port());
  EXPECT_EQ(etcd->post("/", "{}", kShort).error().code(), ErrorCode::kTimeout);
  EXPECT_TRUE(etcd->post("/", "{}", kForever));
}

TEST_F(EtcdHttpTest, CutEndsARequestThatIsOut) {
  std::atomic<bool> there{false};
  const ScriptedServer server{[&](const Connection& it) {
    it.request();
    there = true;
    it.until_gone();
  }};
  const auto etcd = client(server.port());
  std::thread other{[&] {
    while (!there) std::this_thread::yield();
    etcd->cut();
  }};
  EXPECT_EQ(etcd->post("/", "{}", kForever).error().code(), ErrorCode::kUnavailable);
  other.join();
  EXPECT_EQ(etcd->post("/", "{}", kForever).error().text(), "stopped");
}

TEST_F(EtcdHttpTest, NobodyListens) {
  std::uint16_t port = 0;
  {
    const ScriptedServer server{[](const Connection&) {}};
    port = server.port();
  }
  const auto answer = client(port)->post("/", "{}", kForever);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), ErrorCode::kUnavailable);
}

TEST_F(EtcdHttpTest, FilesForHttpsAreReadAtOnce) {
  const EtcdEndpoint endpoint{.tls = true, .host = "127.0.0.1", .port = 1};
  EXPECT_THAT(EtcdHttp::create(endpoint, {}).error().text(), HasSubstr("https needs a CA file"));
  EXPECT_THAT(EtcdHttp::create(endpoint, EtcdTls{.ca = "/nowhere/ca.pem", .cert = {}, .key = {}}).error().text(),
              HasSubstr("CA file /nowhere/ca.pem: cannot be read"));
  EXPECT_THAT(EtcdHttp::create(endpoint, EtcdTls{.ca = "/proc/self/cmdline", .cert = {}, .key = {}}).error().text(),
              HasSubstr("CA file /proc/self/cmdline: error:"));
}

}  // namespace
}  // namespace understudy
