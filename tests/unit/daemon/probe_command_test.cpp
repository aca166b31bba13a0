// Probes of the operator's own: what exit codes mean, and that none outlives its deadline.
#include "failover/probe_command.h"

#include <filesystem>
#include <fstream>
#include <signal.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

constexpr Duration kAmple = seconds{60};

ProbeReport run(const std::string& command, Duration deadline = kAmple) {
  return CommandProbe{"mine", ProbePath::kUser, command, deadline}.exercise();
}

TEST(CommandProbe, ExitCodesAreThoseOfMonitoringPlugins) {
  const struct {
    const char* command;
    Health health;
    bool suspected;
    const char* text;
  } cases[] = {
      {"true", Health::kHealthy, false, "mine: well"},
      {"echo one; echo two; echo", Health::kHealthy, false, "mine: well: two"},
      {"printf 'no newline'", Health::kHealthy, false, "mine: well: no newline"},
      {"echo slow >&2; exit 1", Health::kDegraded, false, "mine: exit code 1: slow"},
      {"echo gone; exit 2", Health::kDegraded, true, "mine: exit code 2: gone"},
      {"exit 77", Health::kDegraded, true, "mine: exit code 77"},
      {"kill -TERM $$", Health::kDegraded, true, "mine: ended by signal 15"},
      {"/no/such/program", Health::kDegraded, true, "mine: exit code 127: sh: 1: /no/such/program: not found"},
      {"printf 'a\\033[31mb\\n'", Health::kHealthy, false, "mine: well: a [31mb"},
      {"cat", Health::kHealthy, false, "mine: well"},  // no input
  };
  for (const auto& one : cases) {
    const ProbeReport report = run(one.command);
    EXPECT_EQ(report.health, one.health) << one.command;
    EXPECT_EQ(report.suspected, one.suspected) << one.command;
    EXPECT_EQ(report.text, one.text) << one.command;
    EXPECT_EQ(report.path, ProbePath::kUser);
  }
}

TEST(CommandProbe, OneThatHangsIsKilledWithAllThatItStarted) {
  const auto mark = std::filesystem::temp_directory_path() / ("understudy-command-test-" + std::to_string(::getpid()));
  const ProbeReport report = run("sleep 600 & echo $! > " + mark.string() + "; echo still here; wait", milliseconds{500});
  EXPECT_TRUE(report.suspected);
  EXPECT_EQ(report.text, "mine: not done within 500 ms, and killed: still here");
  pid_t child = 0;
  std::ifstream{mark} >> child;
  std::filesystem::remove(mark);
  ASSERT_GT(child, 0);
  bool gone = false;
  for (int tries = 0; tries < 6000 && !gone; ++tries) {
    std::string state;
    std::ifstream{"/proc/" + std::to_string(child) + "/stat"} >> state >> state >> state;
    gone = state.empty() || state == "Z";  // init may take its time to reap it
    if (!gone) ::usleep(10'000);
  }
  EXPECT_TRUE(gone);
}

TEST(CommandProbe, OneThatWritesWithoutEndIsNotReadWithoutEnd) {
  EXPECT_THAT(run("yes", milliseconds{300}).text, HasSubstr("killed: y"));
  EXPECT_EQ(run("head -c 1000000 /dev/zero").text.size(), std::string{"mine: well: "}.size() + 150);
}

TEST(CommandProbe, WhatIsLeftInTheBackgroundDoesNotHoldItUp) { EXPECT_EQ(run("sleep 600 & echo done").text, "mine: well: done"); }

TEST(CommandProbe, OneThatIsStuckInTheKernelFailed) {
  const ProbeReport report = judge_command("mine", ProbePath::kUser, {.end = CommandOutcome::End::kStuck}, seconds{2});
  EXPECT_TRUE(report.suspected);
  EXPECT_EQ(report.text, "mine: not done within 2000 ms, and stuck in the kernel");
}

}  // namespace
}  // namespace understudy
