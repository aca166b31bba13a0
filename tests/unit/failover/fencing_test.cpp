// Fence agents (a script stands in), watchdogs (a FIFO stands in), and the service manager (a socket of the test's own).
#include <condition_variable>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <future>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "failover/fence_agent.h"
#include "failover/poison_pill.h"
#include "failover/watchdog.h"
#include "net/base/unique_fd.h"
#include "tests/support/bounds.h"

namespace understudy {
namespace {

using testing::HasSubstr;

class Fencing : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::temp_directory_path() / ("understudy-fencing-test-" + std::to_string(::getpid()));
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directory(directory_);
    auto loop = LoopThread::start(clock_, "fencing-test");
    ASSERT_TRUE(loop);
    loop_ = std::move(*loop);
  }
  void TearDown() override {
    loop_->loop().post_and_wait([&] { agent_.reset(); }, kLong);
    std::filesystem::remove_all(directory_);
  }

  // An agent that does what the shell lines say; what it read lies in `asked`.
  void agent(const std::string& does, Duration deadline = kLong) {
    const auto script = directory_ / "fence_script";
    std::ofstream{script} << "#!/bin/sh\ncat > " << (directory_ / "asked").string() << "\n" << does << "\n";
    std::filesystem::permissions(script, std::filesystem::perms::owner_all);
    loop_->loop().post_and_wait(
        [&] {
          agent_ = FenceAgent::create(loop_->loop(),
                                      {.command = {script.string()}, .options = {"ip=10.0.0.9", "password=s3cret"}, .deadline = deadline});
        },
        kLong);
  }
  Result<std::string> run(FenceAction action) {
    auto outcome = std::make_shared<std::promise<Result<std::string>>>();
    loop_->loop().post(
        [this, action, outcome] { agent_->run(action, [outcome](Result<std::string> got) { outcome->set_value(std::move(got)); }); });
    return outcome->get_future().get();
  }
  std::string asked() const {
    std::ifstream file{directory_ / "asked"};
    return {std::istreambuf_iterator<char>{file}, {}};
  }

  MonotonicClock clock_;
  std::filesystem::path directory_;
  std::unique_ptr<LoopThread> loop_;
  std::unique_ptr<FenceAgent> agent_;
};

TEST_F(Fencing, TheAgentReadsItsOptionsAndTheAction) {
  agent("echo 'Success: Powered OFF'");
  const auto done = run(FenceAction::kOff);
  ASSERT_TRUE(done) << done.error().text();
  EXPECT_EQ(*done, "Success: Powered OFF");
  EXPECT_EQ(asked(), "ip=10.0.0.9\npassword=s3cret\naction=off\n");
}

TEST_F(Fencing, AFailureCarriesTheAgentsLastWordsAndNoSecrets) {
  agent("echo 'connecting'; echo 'Failed: Unable to obtain correct plug status' >&2; exit 1");
  const auto done = run(FenceAction::kOff);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), ErrorCode::kFailed);
  EXPECT_THAT(done.error().text(), HasSubstr("action off: exit status 1 (Failed: Unable to obtain correct plug status)"));
  EXPECT_THAT(done.error().text(), testing::Not(HasSubstr("s3cret")));
}

TEST_F(Fencing, StatusTellsOnFromOff) {
  agent("exit 2");
  EXPECT_EQ(run(FenceAction::kStatus).error().code(), ErrorCode::kRefused);
  EXPECT_EQ(run(FenceAction::kOff).error().code(), ErrorCode::kFailed) << "of another action it is a failure";
  agent("exit 0");
  EXPECT_TRUE(run(FenceAction::kStatus));
  EXPECT_TRUE(run(FenceAction::kMonitor));
  EXPECT_TRUE(run(FenceAction::kOn));
}

TEST_F(Fencing, AnAgentThatHangsIsEndedWithItsChildren) {
  agent("sleep 1000 & echo $! > " + (directory_ / "child").string() + "; wait", std::chrono::milliseconds{500});
  const auto done = run(FenceAction::kOff);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), ErrorCode::kTimeout);
  pid_t child = 0;
  std::ifstream{directory_ / "child"} >> child;
  ASSERT_GT(child, 0);
  const Instant give_up = clock_.now() + kLong;
  while (::kill(child, 0) == 0 && clock_.now() < give_up) {
    // A zombie until init reaps it.
    std::ifstream stat{"/proc/" + std::to_string(child) + "/stat"};
    std::string text{std::istreambuf_iterator<char>{stat}, {}};
    if (text.find(") Z ") != std::string::npos) return;
  }
  EXPECT_NE(::kill(child, 0), 0);
}

TEST_F(Fencing, AnAgentThatIsNotThereIsNamed) {
  loop_->loop().post_and_wait(
      [&] { agent_ = FenceAgent::create(loop_->loop(), {.command = {"/nonexistent/fence_x"}, .options = {}, .deadline = kLong}); }, kLong);
  EXPECT_THAT(run(FenceAction::kOff).error().text(), HasSubstr("/nonexistent/fence_x"));
}

TEST_F(Fencing, OneActionAtATime) {
  agent("sleep 1000");
  auto second = std::make_shared<std::promise<Result<std::string>>>();
  loop_->loop().post([this, second] {
    agent_->run(FenceAction::kOff, [](const Result<std::string>&) {});
    agent_->run(FenceAction::kOff, [second](Result<std::string> got) { second->set_value(std::move(got)); });
  });
  EXPECT_EQ(second->get_future().get().error().code(), ErrorCode::kBusy);
}

TEST_F(Fencing, TheWatchdogIsPettedAndDisarmed) {
  const auto fifo = directory_ / "watchdog";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  const UniqueFd reader{::open(fifo.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)};
  auto watchdog = open_watchdog(fifo, std::chrono::seconds{10});
  ASSERT_TRUE(watchdog) << watchdog.error().text();
  EXPECT_EQ((*watchdog)->period(), std::chrono::seconds{10});
  (*watchdog)->pet();
  (*watchdog)->pet();
  (*watchdog)->disarm();
  char bytes[8] = {};
  ASSERT_EQ(::read(reader.get(), bytes, sizeof bytes), 3);
  EXPECT_EQ(std::string(bytes, 3), std::string("\0\0V", 3));
  EXPECT_FALSE(open_watchdog(directory_ / "none", std::chrono::seconds{10}));
}

TEST_F(Fencing, TheServiceManagerHearsWhatItAskedFor) {
  const auto path = directory_ / "notify";
  const UniqueFd socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof address.sun_path, "%s", path.c_str());
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  const auto heard = [&] {
    char text[200];
    const ssize_t count = ::recv(socket.get(), text, sizeof text, 0);
    return count < 0 ? std::string{"nothing"} : std::string(text, static_cast<std::size_t>(count));
  };
  ::unsetenv("NOTIFY_SOCKET");
  EXPECT_EQ(ServiceManager::of_environment(), nullptr);
  ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
  ::setenv("WATCHDOG_USEC", "3000000", 1);
  ::setenv("WATCHDOG_PID", "1", 1);
  auto for_another = ServiceManager::of_environment();
  ASSERT_NE(for_another, nullptr);
  for_another->pet();
  EXPECT_EQ(heard(), "nothing") << "the watchdog is for another process";
  ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
  const auto manager = ServiceManager::of_environment();
  EXPECT_EQ(manager->period(), std::chrono::seconds{3});
  manager->ready();
  EXPECT_EQ(heard(), "READY=1");
  manager->pet();
  EXPECT_EQ(heard(), "WATCHDOG=1");
  manager->status("primary, protected");
  EXPECT_EQ(heard(), "STATUS=primary, protected");
  manager->disarm();
  EXPECT_EQ(heard(), "STOPPING=1");
  for (const char* const variable : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) ::unsetenv(variable);
}

constexpr PairId kPair{7};

TEST(PillSector, CarriesItsRecordAndNothingDamagedPasses) {
  const PillRecord record{kPair, Incarnation{101}, Term{5}};
  const auto bytes = encode_pill(record);
  ASSERT_EQ(bytes.size(), kPillSectorBytes);
  EXPECT_EQ(*decode_pill(bytes), record);
  EXPECT_FALSE(decode_pill(std::vector<std::byte>(kPillSectorBytes))->has_value()) << "never written";
  EXPECT_FALSE(decode_pill(std::span{bytes}.first(512)));
  for (std::size_t bit = 0; bit < 40 * 8; ++bit) {
    auto damaged = bytes;
    damaged[bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_FALSE(decode_pill(damaged)) << bit;
  }
}

// A file stands in for the shared disk, and two watchers for the hosts.
class Pills : public Fencing {
 protected:
  void SetUp() override {
    Fencing::SetUp();
    disk_ = directory_ / "disk";
    std::ofstream{disk_}.put('\0');
    std::filesystem::resize_file(disk_, 4 * kPillSectorBytes);
  }
  PillConfig config(NodeIncarnation self) const {
    return {.disk = disk_, .pair = kPair, .self = self, .period = std::chrono::milliseconds{5}, .direct = false};
  }
  static std::future<Result<std::string>> shoot(PoisonPill& from, Term term, Duration patience = kLong) {
    auto outcome = std::make_shared<std::promise<Result<std::string>>>();
    from.poison(term, patience, [outcome](Result<std::string> got) { outcome->set_value(std::move(got)); });
    return outcome->get_future();
  }

  static constexpr NodeIncarnation kA{NodeId::kA, Incarnation{101}};
  static constexpr NodeIncarnation kB{NodeId::kB, Incarnation{202}};
  std::filesystem::path disk_;
};

TEST_F(Pills, APillIsTakenAndItsSenderHearsOfIt) {
  std::unique_ptr<PoisonPill> victim;
  std::promise<void> ready;
  auto started = PoisonPill::start(config(kA), clock_, [&, gate = ready.get_future().share()](Term term) {
    gate.wait();
    victim->taken(term);
  });
  ASSERT_TRUE(started) << started.error().text();
  victim = std::move(*started);
  ready.set_value();
  const auto shooter = PoisonPill::start(config(kB), clock_, [](Term) { ADD_FAILURE() << "the pill is for the other one"; });
  ASSERT_TRUE(shooter);
  const auto taken = shoot(**shooter, Term{3}).get();
  ASSERT_TRUE(taken) << taken.error().text();
  EXPECT_EQ(*taken, "the other node took the poison pill");
  EXPECT_LT(victim->since_read(), kLong);
}

TEST_F(Pills, APillThatNobodyTakesIsNoConfirmation) {
  const auto victim = PoisonPill::start(config(kA), clock_, [](Term) {});  // its node goes on
  const auto shooter = PoisonPill::start(config(kB), clock_, [](Term) {});
  ASSERT_TRUE(victim && shooter);
  const auto taken = shoot(**shooter, Term{3}, std::chrono::milliseconds{50}).get();
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code(), ErrorCode::kTimeout);
}

TEST_F(Pills, ALaterProcessIsNotHitByAnOldPill) {
  const auto shooter = PoisonPill::start(config(kB), clock_, [](Term) {});
  ASSERT_TRUE(shooter);
  EXPECT_EQ(shoot(**shooter, Term{3}).get().error().code(), ErrorCode::kNotFound) << "the other host has never been there";
  {
    ASSERT_TRUE(PoisonPill::start(config(kA), clock_, [](Term) {}));
  }
  auto outcome = shoot(**shooter, Term{3});
  auto disk = PillDisk::open(disk_, kPair, false);
  ASSERT_TRUE(disk);
  while (!disk->read_pill(NodeId::kA).value()) std::this_thread::yield();
  const auto again = PoisonPill::start(config({NodeId::kA, Incarnation{303}}), clock_, [](Term) { ADD_FAILURE() << "an old pill"; });
  ASSERT_TRUE(again);
  const auto gone = outcome.get();
  ASSERT_TRUE(gone);
  EXPECT_EQ(*gone, "another process lives on the other host");
}

TEST_F(Pills, AnotherPairsSectorsAreNotOurs) {
  auto theirs = PillDisk::open(disk_, PairId{8}, false);
  ASSERT_TRUE(theirs);
  ASSERT_TRUE(theirs->write_pill(NodeId::kA, {PairId{8}, kA.incarnation, Term{9}}));
  const auto ours = PillDisk::open(disk_, kPair, false);
  EXPECT_FALSE(ours->read_pill(NodeId::kA)->has_value());
  EXPECT_FALSE(PillDisk::open(directory_ / "none", kPair, false));
}

TEST(WatchdogRule, PetsOnlyWhileAllIsFresh) {
  using std::chrono::seconds;
  EXPECT_EQ(reason_not_to_pet({}, "", seconds{2}), "");
  EXPECT_THAT(reason_not_to_pet(seconds{3}, "", seconds{2}), HasSubstr("loop has not answered for 3000 ms"));
  EXPECT_EQ(reason_not_to_pet({}, "sick", seconds{2}), "sick");
}

}  // namespace
}  // namespace understudy
