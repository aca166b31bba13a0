// The operator's socket end to end, and the forms of a status.
#include <array>
#include <atomic>
#include <grp.h>
#include <thread>
#include <unistd.h>

#include <capnp/message.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <zmq.hpp>

#include "failover/daemon/operator_socket.h"
#include "failover/daemon/status.h"
#include "tests/support/bounds.h"

namespace understudy {
namespace {

using testing::HasSubstr;

Status sample() {
  Status status;
  status.pair = "shop";
  status.node = "b";
  status.role = "solo";
  status.mode = "solo";
  status.term = Term{3};
  status.epoch = Epoch{41};
  status.committed_epoch = Epoch{40};
  status.reason = "took over from node a: silent for 400 ms";
  status.arbiter = "etcd at http://10.0.0.3:2379, answers";
  status.incarnation = Incarnation{0xffff'ffff'ffff'fff1};
  status.promise = Term{4};
  status.disks = {{.id = "root", .outstanding = 2, .oldest_ms = 150, .completed = 77, .errors = 3, .last_error = "write: EIO"}};
  status.timeline = {{"detected", 1'000'000, 0, Term{2}, "silent"}, {"granted", 3'500'000, 0, Term{3}, ""}};
  return status;
}

TEST(Status, JsonHasTheSchemasNamesAndPlainNumbers) {
  capnp::MallocMessageBuilder message;
  write_status(sample(), message.initRoot<schema::Status>());
  const auto json = status_as_json(message.getRoot<schema::Status>().asReader());
  EXPECT_THAT(json, HasSubstr("\"term\": 3"));
  EXPECT_THAT(json, HasSubstr("\"committedEpoch\": 40"));
  EXPECT_THAT(json, HasSubstr("\"protected\": false"));
  EXPECT_THAT(json, HasSubstr("\"monotonicNs\": 3500000"));
  EXPECT_THAT(json, HasSubstr("\"oldestMs\": 150"));
  EXPECT_THAT(json, HasSubstr("\"incarnation\": \"18446744073709551601\"")) << "whole, for a seed";
  EXPECT_THAT(json, HasSubstr("\"arbiterAnswers\": false"));
  EXPECT_THAT(json, HasSubstr("\"kind\": \"\"")) << "there, though there was no transfer";
}

TEST(Status, TellsOfATransferHowFarItIs) {
  capnp::MallocMessageBuilder message;
  Status status = sample();
  status.transfer = {.known = true, .under_way = true, .resync = true, .sent_bytes = 30 << 20, .left_bytes = 10 << 20, .took_ms = 1500};
  write_status(status, message.initRoot<schema::Status>());
  EXPECT_THAT(status_as_text(message.getRoot<schema::Status>().asReader()),
              HasSubstr("resync: 30.0 MiB sent in 1.5 s, 10.0 MiB left, about 1 s"));
}

TEST(Status, TextTellsProtectionAndTheTimelineFromItsFirstMoment) {
  capnp::MallocMessageBuilder message;
  write_status(sample(), message.initRoot<schema::Status>());
  const auto text = status_as_text(message.getRoot<schema::Status>().asReader());
  EXPECT_THAT(text, HasSubstr("NOT PROTECTED"));
  EXPECT_THAT(text, HasSubstr("+2.500 ms  granted"));
  EXPECT_THAT(text, HasSubstr("took over from node a"));
  EXPECT_THAT(text, HasSubstr("arbiter     etcd at http://10.0.0.3:2379, answers"));
  EXPECT_THAT(text, HasSubstr("3, granted as solo, promised 4"));
  EXPECT_THAT(text, HasSubstr("incarnation 18446744073709551601"));
  EXPECT_THAT(text, HasSubstr("root: 77 requests done, 2 outstanding (oldest 150 ms), 3 errors, the last: write: EIO"));
}

TEST(Status, AHoldStandsInTheHeadline) {
  Status status = sample();
  const auto forms = [&] {
    capnp::MallocMessageBuilder message;
    write_status(status, message.initRoot<schema::Status>());
    const auto reader = message.getRoot<schema::Status>().asReader();
    return std::pair{status_as_text(reader), status_as_json(reader)};
  };
  EXPECT_THAT(forms().first, testing::Not(HasSubstr("HELD")));
  status.hold = Status::Hold{.by = "alice", .reason = "new kernel", .since_ns = 1'000'000'000, .until_ns = 0, .both_know = true};
  EXPECT_THAT(forms().first, HasSubstr("NOT PROTECTED, HELD by alice since 1970-01-01T00:00:01.000000Z (new kernel)\n"));
  status.hold->until_ns = 61'000'000'000;
  status.hold->both_know = false;
  EXPECT_THAT(forms().first, HasSubstr("until 1970-01-01T00:01:01.000000Z (new kernel); the other node has not said that it knows"));
  EXPECT_THAT(forms().second, HasSubstr("\"until\": \"1970-01-01T00:01:01.000000Z\""));
}

class OperatorSocketTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = std::filesystem::temp_directory_path() / ("understudy-operator-test-" + std::to_string(::getpid()));
    auto loop = LoopThread::start(clock_, "operator-test");
    ASSERT_TRUE(loop);
    loop_ = std::move(*loop);
  }
  void TearDown() override {
    if (server_) loop_->loop().post_and_wait([&] { server_.reset(); }, kLong);
    std::filesystem::remove(path_);
  }
  Result<void> serve(OperatorServer::Handler handler) {
    Result<void> outcome;
    loop_->loop().post_and_wait(
        [&] {
          auto server = OperatorServer::create(loop_->loop(), path_, access_, std::move(handler));
          if (server)
            server_ = std::move(*server);
          else
            outcome = server.error();
        },
        kLong);
    return outcome;
  }

  MonotonicClock clock_;
  ControlAccess access_;
  std::filesystem::path path_;
  std::unique_ptr<LoopThread> loop_;
  std::unique_ptr<OperatorServer> server_;
};

TEST_F(OperatorSocketTest, ARequestIsAnsweredLaterOnTheSameLoop) {
  ASSERT_TRUE(serve([&](const OperatorCall& call, OperatorServer::Answer answer) {
    EXPECT_EQ(call.command, schema::OperatorRequest::Command::SWITCHOVER);
    loop_->loop().post([answer] { answer({.ok = true, .sentence = "node a has the guest", .status = sample()}); });
  }));
  std::string sentence;
  const auto asked = ask_daemon(path_, schema::OperatorRequest::Command::SWITCHOVER, kLong, [&](schema::OperatorReply::Reader reply) {
    EXPECT_TRUE(reply.getOk());
    EXPECT_EQ(reply.getStatus().getTerm(), 3u);
    sentence = reply.getSentence().cStr();
  });
  ASSERT_TRUE(asked) << asked.error().text();
  EXPECT_EQ(sentence, "node a has the guest");
}

TEST_F(OperatorSocketTest, EachCommandArrivesAsItWasAsked) {
  using Command = schema::OperatorRequest::Command;
  std::atomic<Command> heard{Command::STATUS};  // written by the server's loop
  ASSERT_TRUE(serve([&](const OperatorCall& call, OperatorServer::Answer answer) {
    heard = call.command;
    answer({.ok = true, .sentence = "", .status = {}});
  }));
  for (const Command command : {Command::SWITCHOVER, Command::TAKEOVER, Command::CONSOLE, Command::BALLOON, Command::START,
                                Command::POWER_BUTTON, Command::HOLD, Command::RELEASE, Command::FAILBACK, Command::UNPROTECT,
                                Command::PROTECT, Command::FENCE, Command::UNFENCE, Command::PREFLIGHT, Command::STATUS}) {
    ASSERT_TRUE(ask_daemon(path_, command, kLong, [](schema::OperatorReply::Reader) {}));
    EXPECT_EQ(heard.load(), command);
  }
}

TEST_F(OperatorSocketTest, MalformedRequestsAreAnsweredOrIgnoredAndTheSocketLives) {
  ASSERT_TRUE(serve([](const OperatorCall&, OperatorServer::Answer answer) { answer({.ok = true, .sentence = "fine", .status = {}}); }));
  {
    zmq::context_t context{1};
    zmq::socket_t socket{context, zmq::socket_type::req};
    socket.set(zmq::sockopt::rcvtimeo, 30'000);
    socket.connect("ipc://" + path_.string());
    ASSERT_TRUE(socket.send(zmq::str_buffer("not a message at all....")));
    zmq::message_t reply;
    ASSERT_TRUE(socket.recv(reply)) << "an answer, since a client waits for one";
  }
  EXPECT_TRUE(ask_daemon(path_, schema::OperatorRequest::Command::STATUS, kLong,
                         [](schema::OperatorReply::Reader reply) { EXPECT_TRUE(reply.getOk()); }));
}

TEST_F(OperatorSocketTest, ALivingDaemonsSocketIsNotTaken) {
  ASSERT_TRUE(serve([](const OperatorCall&, OperatorServer::Answer answer) { answer({}); }));
  const auto other = LoopThread::start(clock_, "second");
  ASSERT_TRUE(other);
  std::string refusal;
  (*other)->loop().post_and_wait(
      [&] {
        const auto second = OperatorServer::create((*other)->loop(), path_, access_, [](auto, auto) {});
        if (!second) refusal = second.error().text();
      },
      kLong);
  EXPECT_THAT(refusal, HasSubstr("another understudyd answers there"));
}

#ifdef __SANITIZE_THREAD__
constexpr bool kThreadsAfterFork = false;  // ThreadSanitizer ends a child that starts one
#else
constexpr bool kThreadsAfterFork = true;
#endif

// Asks as another user, in a process of its own; what it was told. Needs root.
std::string asked_as(uid_t user, const std::filesystem::path& path, schema::OperatorRequest::Command command) {
  std::array<int, 2> pipe{};
  EXPECT_EQ(::pipe(pipe.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    std::string said = "as whom?";
    if (::setgroups(0, nullptr) == 0 && ::setresgid(user, user, user) == 0 && ::setresuid(user, user, user) == 0) {
      const auto asked = ask_daemon(path, command, std::chrono::seconds{20}, [&](schema::OperatorReply::Reader reply) {
        said = std::string{reply.getOk() ? "ok: " : "no: "} + reply.getSentence().cStr() + "|" + reply.getStatus().getPair().cStr();
      });
      if (!asked) said = asked.error().text();
    }
    static_cast<void>(!::write(pipe[1], said.data(), said.size()));
    ::_exit(0);
  }
  ::close(pipe[1]);
  std::string said(512, '\0');
  const auto got = ::read(pipe[0], said.data(), said.size());
  ::close(pipe[0]);
  ::waitpid(child, nullptr, 0);
  said.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return said;
}

TEST_F(OperatorSocketTest, UsersDoWhatTheirRoleAllows) {
  if (::geteuid() != 0 || !kThreadsAfterFork) GTEST_SKIP() << "becomes other users: needs root, and threads after a fork";
  using Command = schema::OperatorRequest::Command;
  std::atomic<unsigned> served{0};
  const auto handler = [&](const OperatorCall&, const OperatorServer::Answer& answer) {
    ++served;
    answer({.ok = true, .sentence = "done", .status = sample()});
  };
  // Users that every Debian has: daemon is 1, bin is 2, sys is 3.
  access_ = ControlAccess::resolve({.operators = {"bin"}, .viewers = {"@daemon"}}).value();
  ASSERT_TRUE(serve(handler));
  EXPECT_EQ(asked_as(2, path_, Command::TAKEOVER), "ok: done|shop");
  EXPECT_EQ(asked_as(1, path_, Command::STATUS), "ok: done|shop");
  EXPECT_EQ(asked_as(1, path_, Command::EVENTS), "ok: done|shop");
  EXPECT_EQ(asked_as(1, path_, Command::EPOCHS), "ok: done|shop");
  EXPECT_EQ(served.load(), 4U);
  for (const Command command :
       {Command::TAKEOVER, Command::SWITCHOVER, Command::START, Command::CONSOLE, Command::BALLOON, Command::POWER_BUTTON, Command::FLIGHT})
    EXPECT_THAT(asked_as(1, path_, command), HasSubstr("no: user 1 is a viewer of this daemon, and that is an operator's command"));
  EXPECT_THAT(asked_as(3, path_, Command::STATUS), testing::StartsWith("no: user 3 may not use this daemon: ask root"));
  EXPECT_EQ(served.load(), 4U);
  ASSERT_TRUE(ask_daemon(path_, Command::STATUS, kLong, [](schema::OperatorReply::Reader reply) {
    EXPECT_EQ(reply.getStatus().getControl().getRefused(), 8U);
    EXPECT_THAT(reply.getStatus().getControl().getLastRefused().cStr(), HasSubstr("user 3"));
  }));
}

TEST_F(OperatorSocketTest, WithoutRolesNobodyElseReachesIt) {
  if (::geteuid() != 0 || !kThreadsAfterFork) GTEST_SKIP() << "becomes other users: needs root, and threads after a fork";
  ASSERT_TRUE(serve([](const OperatorCall&, const OperatorServer::Answer& answer) { answer({.ok = true, .sentence = "", .status = {}}); }));
  EXPECT_THAT(asked_as(2, path_, schema::OperatorRequest::Command::STATUS), HasSubstr("this user may not: ask as root"));
}

TEST(ControlAccess, NamesAreLookedUpAtTheStart) {
  const auto unknown = ControlAccess::resolve({.operators = {"no-such-user"}, .viewers = {}});
  ASSERT_FALSE(unknown);
  EXPECT_THAT(unknown.error().text(), HasSubstr("this host knows no user of that name"));
  const auto group = ControlAccess::resolve({.operators = {}, .viewers = {"@no-such-group"}});
  ASSERT_FALSE(group);
  EXPECT_THAT(group.error().text(), HasSubstr("this host knows no group of that name"));
  const auto access = ControlAccess::resolve({.operators = {"bin"}, .viewers = {"@bin", "daemon"}});
  ASSERT_TRUE(access);
  EXPECT_EQ(access->role_of({.user = 0, .group = 0}), ControlRole::kOperator);
  EXPECT_EQ(access->role_of({.user = 2, .group = 2}), ControlRole::kOperator);
  EXPECT_EQ(access->role_of({.user = 1, .group = 1}), ControlRole::kViewer);
  EXPECT_EQ(access->role_of({.user = 4242, .group = 2}), ControlRole::kViewer);
  EXPECT_EQ(access->role_of({.user = 4242, .group = 4242}), ControlRole::kNobody);
}

TEST(ControlAccess, ZeroMqsWordForAPeerIsReadStrictly) {
  EXPECT_EQ(parse_control_peer("localhost:1000:100:4711")->user, 1000U);
  EXPECT_EQ(parse_control_peer(":1000:100:4711")->group, 100U);
  for (const auto* const none : {"", "localhost", "10.0.0.1", "1000:100:4711", ":1000:100:", ":a:100:4711", ":-1:100:4711", ":1000:100:1 "})
    EXPECT_FALSE(parse_control_peer(none)) << none;
}

TEST_F(OperatorSocketTest, WithoutADaemonTheErrorSaysSo) {
  const auto asked = ask_daemon(path_, schema::OperatorRequest::Command::STATUS, kLong, [](schema::OperatorReply::Reader) {});
  ASSERT_FALSE(asked);
  EXPECT_EQ(asked.error().code(), ErrorCode::kUnavailable);
  EXPECT_THAT(asked.error().text(), HasSubstr("is the daemon running"));
}

}  // namespace
}  // namespace understudy
