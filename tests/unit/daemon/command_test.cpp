// `understudy`'s command line: what each command says of itself, what it sends, and what it exits with.
#include "failover/command/command.h"

#include <cstdlib>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "failover/daemon/epoch_stats.h"
#include "net/base/event_loop.h"
#include "tests/support/bounds.h"

namespace understudy::command {
namespace {

using testing::HasSubstr;
using Asked = schema::OperatorRequest::Command;

class CommandLine : public testing::Test {
 protected:
  CommandLine() { describe(app_, invocation_); }

  // Exit status of the program with these words.
  int run(const std::string& words) {
    try {
      app_.parse(words);
    } catch (const CLI::ParseError& error) {
      return error.get_exit_code();
    }
    return invocation_.run();
  }

  CLI::App app_{"", "understudy"};
  Invocation invocation_;
};

TEST_F(CommandLine, EachCommandHasHelpWithAnExample) {
  const auto commands = app_.get_subcommands(nullptr);
  EXPECT_GE(commands.size(), 18U);
  for (const CLI::App* const command : commands) {
    const std::string help = command->help();
    EXPECT_THAT(help, HasSubstr("Example:")) << command->get_name();
    EXPECT_THAT(help, HasSubstr(command->get_name()));
    EXPECT_FALSE(command->get_description().empty());
  }
}

TEST_F(CommandLine, WrongWordsAreToldApartFromRefusals) {
  for (const char* const words :
       {"", "nonsense", "hold --for 30", "hold --for 0m", "hold --for 400d", "balloon x", "completion zsh", "replace-secondary"})
    EXPECT_GE(run(words), 100) << words;
}

TEST_F(CommandLine, WithoutADaemonNothingIsKnown) {
  for (const char* const words : {"status", "hold", "preflight", "switchover --json", "explain"})
    EXPECT_EQ(run(std::string{"--socket /nonexistent/socket "} + words), kUnknown) << words;
}

TEST_F(CommandLine, ReplacingTheSecondaryIsRefusedWithWhatToDo) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(run("replace-secondary host-c"), kRefused);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, HasSubstr("Instead: `understudy unprotect` here"));
  EXPECT_THAT(said, HasSubstr("give host-c the old host's addresses"));
}

// A daemon that answers what the test wants.
class CommandSent : public CommandLine {
 protected:
  void SetUp() override {
    path_ = std::filesystem::temp_directory_path() / ("understudy-command-test-" + std::to_string(::getpid()));
    auto loop = LoopThread::start(clock_, "command-test");
    ASSERT_TRUE(loop);
    loop_ = std::move(*loop);
    Result<void> outcome;
    loop_->loop().post_and_wait(
        [&] {
          auto server = OperatorServer::create(loop_->loop(), path_, {}, [this](const OperatorCall& call, OperatorServer::Answer answer) {
            heard_ = std::make_unique<OperatorCall>(call);
            answer(answer_);
          });
          if (server)
            server_ = std::move(*server);
          else
            outcome = server.error();
        },
        kLong);
    ASSERT_TRUE(outcome) << outcome.error().text();
  }
  void TearDown() override {
    if (server_) loop_->loop().post_and_wait([&] { server_.reset(); }, kLong);
    std::filesystem::remove(path_);
  }
  // ... and what it printed.
  std::pair<int, std::string> say(const std::string& words) {
    testing::internal::CaptureStdout();
    const int code = run("--socket " + path_.string() + " " + words);
    return {code, testing::internal::GetCapturedStdout()};
  }

  MonotonicClock clock_;
  std::filesystem::path path_;
  std::unique_ptr<LoopThread> loop_;
  std::unique_ptr<OperatorServer> server_;
  OperatorAnswer answer_{.ok = true, .sentence = "as you wish", .status = {}};
  std::unique_ptr<OperatorCall> heard_;  // read between two questions only
};

TEST_F(CommandSent, AHoldCarriesWhoWhyAndHowLong) {
  ASSERT_EQ(::setenv("SUDO_USER", "alice", 1), 0);
  EXPECT_EQ(say("hold --for 90m --reason 'new kernel'"), (std::pair{0, std::string{"as you wish\n"}}));
  EXPECT_EQ(heard_->command, Asked::HOLD);
  EXPECT_EQ(heard_->by, "alice");
  EXPECT_EQ(heard_->reason, "new kernel");
  EXPECT_EQ(heard_->length, Duration{std::chrono::minutes{90}});
  ::unsetenv("SUDO_USER");
}

TEST_F(CommandSent, AHoldWithoutATimeLasts) {
  EXPECT_EQ(say("hold").first, 0);
  EXPECT_FALSE(heard_->length.has_value());
  EXPECT_FALSE(heard_->by.empty());
}

TEST_F(CommandSent, RefusalsExitWithOneAndJsonSaysTheSame) {
  answer_.ok = false;
  answer_.sentence = "no";
  EXPECT_EQ(say("fence"), (std::pair{1, std::string{}})) << "the reason goes to standard error";
  const auto [code, json] = say("fence --json");
  EXPECT_EQ(code, 1);
  EXPECT_THAT(json, HasSubstr("\"ok\": false"));
  EXPECT_THAT(json, HasSubstr("\"sentence\": \"no\""));
}

TEST_F(CommandSent, EveryAnswerOfAPreflightHasItsExitStatus) {
  for (const auto& [answer, code] : {std::pair{PreflightAnswer::kYes, 0}, {PreflightAnswer::kNo, 1}, {PreflightAnswer::kCannotTell, 2}}) {
    answer_.preflight = Preflight{.answer = answer};
    EXPECT_EQ(say("preflight").first, code);
  }
  answer_.preflight.reset();
  EXPECT_EQ(say("preflight"), (std::pair{2, std::string{"as you wish\n"}})) << "a daemon that does not know the question";
}

TEST_F(CommandSent, EpochsAreShownOldestFirstAndNoMoreThanWanted) {
  for (std::uint64_t n = 1; n <= 3; ++n) answer_.epochs.push_back({.epoch = Epoch{n}, .pause_us = 100 * n, .dirty_pages = n});
  EXPECT_EQ(say("epochs --from 1 --last 2"),
            (std::pair{0, std::string{"epoch 2: pause 200 us, 2 dirty pages, 0 bytes, ack after 0 us, 0 frames in the gate\n"
                                      "epoch 3: pause 300 us, 3 dirty pages, 0 bytes, ack after 0 us, 0 frames in the gate\n"}}));
  EXPECT_EQ(heard_->command, Asked::EPOCHS);
  EXPECT_EQ(heard_->from, 1U);
  const auto [code, json] = say("epochs --last 1 --json");
  EXPECT_EQ(code, 0);
  EXPECT_THAT(json, HasSubstr("\"epoch\":3,\"pauseUs\":300"));
}

TEST(EpochStats, KeepsTheLatestAndTellsThemFromANumberOn) {
  EpochStats stats;
  EXPECT_TRUE(stats.lines(Epoch{0}).empty());
  EXPECT_EQ(stats.summary().pause_median_us, 0U);
  for (std::uint64_t n = 1; n <= EpochStats::kWindow + 10; ++n) stats.add({.epoch = Epoch{n}, .pause_us = n});
  const auto all = stats.lines(Epoch{0});
  ASSERT_EQ(all.size(), EpochStats::kWindow);
  EXPECT_EQ(all.front().epoch, Epoch{11});
  EXPECT_EQ(all.back().epoch, Epoch{EpochStats::kWindow + 10});
  EXPECT_EQ(stats.lines(Epoch{EpochStats::kWindow + 9}).size(), 2U);
  EXPECT_EQ(stats.summary().pause_us, EpochStats::kWindow + 10);
  EXPECT_EQ(stats.summary().pause_median_us, 11 + EpochStats::kWindow / 2);
}

// What bash would offer after these words (the last may be empty).
std::string offered(const std::string& script, const std::string& words, int at) {
  const std::string file = std::filesystem::temp_directory_path() / ("understudy-completion-" + std::to_string(::getpid()));
  {
    std::FILE* const out = std::fopen(file.c_str(), "w");
    std::fprintf(out, "%s\nCOMP_WORDS=(%s)\nCOMP_CWORD=%d\n_understudy\necho \"${COMPREPLY[*]}\"\n", script.c_str(), words.c_str(), at);
    std::fclose(out);
  }
  std::FILE* const shell = ::popen(("bash " + file).c_str(), "r");
  std::string text(4000, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), shell));
  ::pclose(shell);
  std::filesystem::remove(file);
  return text;
}

TEST_F(CommandLine, BashCompletesCommandsAndTheirOptions) {
  const std::string script = bash_completion(app_);
  EXPECT_THAT(offered(script, "understudy sw", 1), HasSubstr("switchover"));
  EXPECT_THAT(offered(script, "understudy hold --", 2), testing::AllOf(HasSubstr("--for"), HasSubstr("--reason"), HasSubstr("--json")));
  EXPECT_THAT(offered(script, "understudy status --w", 2), HasSubstr("--watch"));
  EXPECT_THAT(offered(script, "understudy --socket /x hold --f", 4), HasSubstr("--for")) << "a value is no command";
  EXPECT_EQ(offered(script, "understudy hold --for ''", 3), "\n") << "a time can't be guessed";
  EXPECT_THAT(offered(script, "understudy doctor --config /proc/self/statu", 3), HasSubstr("/proc/self/status")) << "a file";
}

}  // namespace
}  // namespace understudy::command
