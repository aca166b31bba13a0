// The guest's console: what is kept of its output, who gets it, and a terminal attached to it over the operator's socket.
#include "failover/daemon/console.h"

#include <atomic>
#include <poll.h>
#include <pty.h>
#include <string>
#include <thread>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include "failover/daemon/console_client.h"
#include "failover/daemon/operator_socket.h"
#include "tests/support/bounds.h"

namespace understudy {
namespace {

using ::testing::HasSubstr;

ConstBytes bytes_of(std::string_view text) { return std::as_bytes(std::span{text}); }
std::string text_of(ConstBytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

TEST(ConsoleBacklog, KeepsTheLatestAndKnowsItsPlace) {
  ConsoleBacklog backlog;
  EXPECT_TRUE(backlog.read(0, 100).bytes.empty());
  backlog.write(bytes_of("hello "));
  backlog.write(bytes_of("world"));
  EXPECT_EQ(text_of(backlog.read(0, 100).bytes), "hello world");
  EXPECT_EQ(text_of(backlog.read(6, 3).bytes), "wor");
  EXPECT_EQ(backlog.read(11, 10).from, 11u);
  EXPECT_EQ(backlog.read(99, 10).from, 11u) << "a place of another output's";
  std::string long_text;
  for (std::size_t i = 0; i < ConsoleBacklog::kBytes + 1000; ++i) long_text += static_cast<char>('a' + i % 26);
  for (std::size_t i = 0; i < long_text.size(); i += 777) backlog.write(bytes_of(std::string_view{long_text}.substr(i, 777)));
  const auto all = backlog.read(0, SIZE_MAX);
  EXPECT_EQ(all.from, 11 + 1000u);
  EXPECT_EQ(text_of(all.bytes), long_text.substr(1000));
  backlog.write(bytes_of(long_text));
  EXPECT_EQ(backlog.end(), 11 + 2 * long_text.size());
  EXPECT_EQ(text_of(backlog.read(0, SIZE_MAX).bytes), long_text.substr(1000)) << "more at once than is kept";
}

TEST(ConsoleBacklog, TellsOnceThatThereIsMore) {
  ConsoleBacklog backlog;
  int told = 0;
  backlog.write(bytes_of("abc"));
  backlog.call_when_beyond(3, [&] { ++told; });
  EXPECT_EQ(told, 0);
  backlog.write(bytes_of("d"));
  backlog.write(bytes_of("e"));
  EXPECT_EQ(told, 1);
  backlog.call_when_beyond(4, [&] { ++told; });
  EXPECT_EQ(told, 2) << "there is already";
  backlog.call_when_beyond(5, [&] { ++told; });
  backlog.call_when_beyond(0, {});
  backlog.write(bytes_of("f"));
  EXPECT_EQ(told, 2);
}

// A daemon's loop with a desk, and an operator's socket before it.
class ConsoleTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = std::filesystem::temp_directory_path() / ("understudy-console-test-" + std::to_string(::getpid()));
    auto started = LoopThread::start(clock_, "console-test");
    ASSERT_TRUE(started);
    thread_ = std::move(*started);
    on_loop([&] {
      desk_ = std::make_unique<ConsoleDesk>(thread_->loop(), backlog_, std::chrono::milliseconds{50});
      auto server = OperatorServer::create(thread_->loop(), path_, ControlAccess{},
                                           [this](const OperatorCall& call, OperatorServer::Answer answer) { serve(call, answer); });
      ASSERT_TRUE(server) << server.error().text();
      server_ = std::move(*server);
    });
  }
  void TearDown() override {
    on_loop([&] {
      server_.reset();
      desk_.reset();
    });
    std::filesystem::remove(path_);
  }
  void on_loop(EventLoop::Callback call) { ASSERT_TRUE(thread_->loop().post_and_wait(std::move(call), kLong)); }
  void serve(const OperatorCall& call, const OperatorServer::Answer& answer) {
    if (refusing_) return answer({.ok = false, .sentence = "the guest runs on node b", .status = {}});
    if (call.console_input.empty()) {
      desk_->read(call.console_from, [answer](const ConsoleOutput& output) {
        answer({.ok = true, .sentence = "", .status = {}, .console = {{.output = output, .taken = std::nullopt}}});
      });
      return;
    }
    // A guest that takes two characters at a time, and echoes them.
    const auto taken = std::span{call.console_input}.first(std::min<std::size_t>(2, call.console_input.size()));
    backlog_->write(taken);
    answer({.ok = true, .sentence = "", .status = {}, .console = {{.output = {}, .taken = taken.size()}}});
  }

  MonotonicClock clock_;
  std::filesystem::path path_;
  std::shared_ptr<ConsoleBacklog> backlog_ = std::make_shared<ConsoleBacklog>();
  std::atomic<bool> refusing_{false};
  std::unique_ptr<LoopThread> thread_;
  std::unique_ptr<ConsoleDesk> desk_;
  std::unique_ptr<OperatorServer> server_;
};

TEST_F(ConsoleTest, TheDeskAnswersNowOrWhenThereIsMoreOrWithNothing) {
  std::atomic<int> answers{0};
  std::string shown;
  const auto read = [&](std::uint64_t from) {
    on_loop([&, from] {
      desk_->read(from, [&](const ConsoleOutput& output) {
        shown += text_of(output.bytes) + "|";
        ++answers;
      });
    });
  };
  const auto wait = [&](int count) {
    const auto until = std::chrono::steady_clock::now() + kLong;
    while (answers < count && std::chrono::steady_clock::now() < until) std::this_thread::sleep_for(std::chrono::milliseconds{1});
    return answers == count;
  };
  backlog_->write(bytes_of("old"));
  read(0);
  ASSERT_TRUE(wait(1)) << "at once";
  read(3);
  read(3);
  backlog_->write(bytes_of("new"));
  ASSERT_TRUE(wait(3));
  read(6);
  ASSERT_TRUE(wait(4)) << "nothing came";
  EXPECT_EQ(shown, "old|new|new||");
}

TEST_F(ConsoleTest, TooManyWhoWaitAreAnsweredWithNothing) {
  int answered = 0;
  on_loop([&] {
    for (std::size_t i = 0; i < ConsoleDesk::kMaxWaiting + 3; ++i) desk_->read(0, [&](const ConsoleOutput&) { ++answered; });
    EXPECT_EQ(answered, 3);
    desk_.reset();
    EXPECT_EQ(answered, 3) << "a desk that goes answers nobody";
  });
}

// An attached terminal: the test types and reads at the other end of a pty.
class AttachedTerminal {
 public:
  explicit AttachedTerminal(const std::filesystem::path& path) {
    EXPECT_EQ(::openpty(&keyboard_, &terminal_, nullptr, nullptr, nullptr), 0);
    EXPECT_EQ(::tcgetattr(terminal_, &before_), 0);
    thread_ = std::thread{[this, path] {
      const RawTerminal raw{terminal_};
      ended_ = attach_console(path, {.in = terminal_, .out = terminal_, .stop = stop_.get()});
    }};
  }
  ~AttachedTerminal() {
    if (thread_.joinable()) end();
    ::close(keyboard_);
    ::close(terminal_);
  }
  void type(std::string_view keys) { ASSERT_EQ(::write(keyboard_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size())); }
  // Until the terminal shows `text`, or for long.
  bool shows(const std::string& text) {
    const auto until = std::chrono::steady_clock::now() + kLong;
    while (screen_.find(text) == std::string::npos && std::chrono::steady_clock::now() < until) {
      pollfd polled{keyboard_, POLLIN, 0};
      if (::poll(&polled, 1, 100) <= 0) continue;
      char buffer[4096];
      const auto got = ::read(keyboard_, buffer, sizeof buffer);
      if (got > 0) screen_.append(buffer, static_cast<std::size_t>(got));
    }
    return screen_.find(text) != std::string::npos;
  }
  void stop() {
    const std::uint64_t one = 1;
    ASSERT_EQ(::write(stop_.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
  }
  Result<ConsoleEnd> wait() {
    thread_.join();
    return ended_;
  }
  bool restored() const {
    termios now{};
    EXPECT_EQ(::tcgetattr(terminal_, &now), 0);
    return now.c_lflag == before_.c_lflag && now.c_iflag == before_.c_iflag && now.c_oflag == before_.c_oflag;
  }
  bool raw() const {
    termios now{};
    EXPECT_EQ(::tcgetattr(terminal_, &now), 0);
    return (now.c_lflag & (ICANON | ECHO | ISIG)) == 0;
  }

 private:
  void end() {
    stop();
    thread_.join();
  }
  int keyboard_ = -1;
  int terminal_ = -1;
  termios before_{};
  const UniqueFd stop_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::string screen_;
  Result<ConsoleEnd> ended_ = ConsoleEnd::kStopped;
  std::thread thread_;
};

TEST_F(ConsoleTest, ATerminalShowsWhatWasAndWhatComesAndSendsWhatIsTyped) {
  backlog_->write(bytes_of("boot messages\r\n"));
  AttachedTerminal terminal{path_};
  EXPECT_TRUE(terminal.shows("boot messages"));
  EXPECT_TRUE(terminal.raw());
  backlog_->write(bytes_of("login: "));
  EXPECT_TRUE(terminal.shows("login: "));
  terminal.type("root and more than two\x03");
  EXPECT_TRUE(terminal.shows("root and more than two\x03")) << "whole, though the guest takes little at a time; Ctrl-C is the guest's";
  terminal.type("\x1D");
  const auto ended = terminal.wait();
  ASSERT_TRUE(ended) << ended.error().text();
  EXPECT_EQ(*ended, ConsoleEnd::kDetached);
  EXPECT_TRUE(terminal.restored());
}

TEST_F(ConsoleTest, AStopSignalLeavesTheTerminalAsItWas) {
  AttachedTerminal terminal{path_};
  backlog_->write(bytes_of("here"));
  EXPECT_TRUE(terminal.shows("here"));
  terminal.stop();
  const auto ended = terminal.wait();
  ASSERT_TRUE(ended);
  EXPECT_EQ(*ended, ConsoleEnd::kStopped);
  EXPECT_TRUE(terminal.restored());
}

TEST_F(ConsoleTest, AViewerWhoseTerminalStandsStillLosesTheOldestAndIsTold) {
  AttachedTerminal terminal{path_};
  backlog_->write(bytes_of("start"));
  ASSERT_TRUE(terminal.shows("start"));
  // Far more than the terminal's buffer, one reply and the backlog hold; the guest's writes never wait.
  const std::string line(1000, 'x');
  for (int i = 0; i < 300; ++i) backlog_->write(bytes_of(line));
  std::this_thread::sleep_for(std::chrono::milliseconds{50});
  for (int i = 0; i < 300; ++i) backlog_->write(bytes_of(line));
  backlog_->write(bytes_of("the end"));
  EXPECT_TRUE(terminal.shows("bytes of output lost]"));
  EXPECT_TRUE(terminal.shows("the end"));
}

TEST_F(ConsoleTest, WhereTheGuestDoesNotRunTheSentenceSaysWhereItDoes) {
  AttachedTerminal terminal{path_};
  backlog_->write(bytes_of("here"));
  ASSERT_TRUE(terminal.shows("here"));
  refusing_ = true;  // after a switchover
  backlog_->write(bytes_of("more"));
  const auto ended = terminal.wait();
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code(), ErrorCode::kRefused);
  EXPECT_THAT(ended.error().text(), HasSubstr("node b"));
  EXPECT_TRUE(terminal.restored());
}

TEST(Console, WithoutADaemonTheErrorSaysSo) {
  const auto ended = attach_console("/nonexistent/understudy.sock", {.in = -1, .out = -1, .stop = -1});
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().code(), ErrorCode::kUnavailable);
}

}  // namespace
}  // namespace understudy
