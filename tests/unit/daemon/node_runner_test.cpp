// An operator's wishes for a running guest: carried to its side where it runs, and refused with a sentence where it does not.
#include "failover/daemon/node_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/bounds.h"
#include "tests/support/fake_link.h"
#include "tests/support/fake_store.h"
#include "tests/unit/daemon/no_guest.h"

namespace understudy {
namespace {

using schema::OperatorRequest;
using testing::HasSubstr;

constexpr NodeIncarnation kSelf{NodeId::kB, Incarnation{202}};
constexpr NodeIncarnation kPeer{NodeId::kA, Incarnation{101}};

// Answers the latest question when the test says so.
class SlowArbiter final : public Arbiter {
 public:
  void read(Callback done) override { asked_ = std::move(done); }
  void propose(const Proposal& proposal, Callback done) override {
    request_ = proposal.request;
    asked_ = std::move(done);
  }
  void answer(std::optional<ArbiterRecord> record, bool granted = false) {
    ASSERT_TRUE(asked_);
    std::exchange(asked_, nullptr)(ArbiterAnswer{granted, std::move(record), StoreId{1}, ""});
  }
  void fail(const std::string& reason) {
    ASSERT_TRUE(asked_);
    std::exchange(asked_, nullptr)(Error{ErrorCode::kRefused, reason});
  }
  void grant() { answer(ArbiterRecord{Term{1}, PairMode::kSolo, kSelf, {kSelf}, request_}, true); }

 private:
  Callback asked_;
  RequestId request_;
};

// Node b. Its loop does not run: everything happens within the calls.
class NodeRunnerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto loop = EventLoop::create(clock_);
    ASSERT_TRUE(loop);
    loop_ = std::move(*loop);
    auto store = StoreThread::start(std::make_unique<fake::ForgetfulStore>(), *loop_, clock_, kLong);
    ASSERT_TRUE(store);
    store_ = std::move(*store);
    config_.pair = {.name = "shop", .id = pair_id_of("shop"), .node = kSelf.node};
  }
  void start(bool as_primary) {
    NodeConfig node;
    node.node = kSelf.node;
    node.starts_as_primary = as_primary;
    node.alone = as_primary;
    runner_ = std::make_unique<NodeRunner>(NodeRunner::Dependencies{.config = config_,
                                                                    .loop = *loop_,
                                                                    .heartbeats = link_,
                                                                    .arbiter = arbiter_,
                                                                    .store = *store_,
                                                                    .guest = guest_,
                                                                    .timeline = timeline_},
                                           node);
    runner_->start({.self = kSelf, .term = {}, .promise = {}, .committed = {}});
  }
  void run_the_guest() {
    start(true);
    arbiter_.answer(std::nullopt);
    arbiter_.grant();
    runner_->feed(input::TermPersisted{Term{1}});
    runner_->feed(input::GuestRunning{Term{1}});
  }
  OperatorAnswer ask(OperatorRequest::Command command) {
    std::optional<OperatorAnswer> given;
    runner_->serve(command, [&](const OperatorAnswer& answer) { given = answer; });
    EXPECT_TRUE(given.has_value()) << "answered at once";
    return given.value_or(OperatorAnswer{});
  }

  const MonotonicClock clock_;
  DaemonConfig config_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<StoreThread> store_;
  fake::FakeLink link_;
  SlowArbiter arbiter_;
  NoGuest guest_;
  Timeline timeline_{clock_};
  std::unique_ptr<NodeRunner> runner_;
};

TEST_F(NodeRunnerTest, TheStatusNamesTheArbiterAndWhatIsWrongWithIt) {
  config_.etcd.emplace().endpoints = {*EtcdEndpoint::parse("http://10.0.0.3:1"), *EtcdEndpoint::parse("http://10.0.0.4:1")};
  start(true);
  EXPECT_EQ(ask(OperatorRequest::Command::STATUS).status.arbiter, "etcd at http://10.0.0.3:1, http://10.0.0.4:1, answers");
  arbiter_.fail("never set up");
  // Asked for so long without an answer that it is told.
  const auto said = [&] { return ask(OperatorRequest::Command::STATUS).status; };
  const Instant give_up = clock_.now() + kLong;
  while (said().arbiter_answers && clock_.now() < give_up) runner_->feed(input::Tick{});
  EXPECT_EQ(said().arbiter, "etcd at http://10.0.0.3:1, http://10.0.0.4:1: does not answer (never set up)");
  EXPECT_THAT(said().reason, HasSubstr("the arbiter does not answer"));
  EXPECT_EQ(said().incarnation, kSelf.incarnation);
  arbiter_.answer(std::nullopt);
  EXPECT_EQ(said().arbiter, "etcd at http://10.0.0.3:1, http://10.0.0.4:1, answers");
  config_.etcd.reset();
  config_.witness = "tcp://10.0.0.5:7003";
  EXPECT_EQ(said().arbiter, "the witness at tcp://10.0.0.5:7003, answers");
}

TEST_F(NodeRunnerTest, ThePowerButtonIsPressedWhereTheGuestRuns) {
  run_the_guest();
  const auto pressed = ask(OperatorRequest::Command::POWER_BUTTON);
  EXPECT_TRUE(pressed.ok) << pressed.sentence;
  EXPECT_THAT(pressed.sentence, HasSubstr("power button was pressed; `understudy status` tells"));
  EXPECT_EQ(pressed.status.role, "solo");
  guest_.listens = false;
  EXPECT_THAT(ask(OperatorRequest::Command::POWER_BUTTON).sentence, HasSubstr("does not listen to it"));
  guest_.listens = Error{ErrorCode::kUnavailable, "no machine runs here"};
  const auto refused = ask(OperatorRequest::Command::POWER_BUTTON);
  EXPECT_FALSE(refused.ok);
  EXPECT_EQ(refused.sentence, "no machine runs here");
  EXPECT_EQ(guest_.presses, 3);
}

TEST_F(NodeRunnerTest, AVerificationSaysWhatIsTheSame) {
  run_the_guest();
  guest_.verification = Verification{.term = Term{2}, .from = Epoch{7}, .to = Epoch{9}, .pages = 512};
  const auto same = ask(OperatorRequest::Command::VERIFY);
  EXPECT_TRUE(same.ok);
  EXPECT_EQ(same.sentence, "the same on both nodes: 512 pages of memory and the machine's state, at the ends of epochs 7 to 9 of term 2");
  guest_.verification->differing = 2;
  guest_.verification->examples = {PageIndex{17}, PageIndex{40}};
  const auto differs = ask(OperatorRequest::Command::VERIFY);
  EXPECT_FALSE(differs.ok);
  EXPECT_THAT(differs.sentence, HasSubstr("NOT the same on both nodes"));
  EXPECT_THAT(differs.sentence, HasSubstr("2 of 512 pages of memory (the first: 17, 40)"));
  EXPECT_FALSE(differs.verification->same());
  guest_.verification = Error{ErrorCode::kRefused, "no session with a whole image is up"};
  EXPECT_EQ(ask(OperatorRequest::Command::VERIFY).sentence, "not verified: no session with a whole image is up");
}

TEST_F(NodeRunnerTest, WithoutItsFlightRecorderItSaysSo) {
  start(true);
  const auto asked = ask(OperatorRequest::Command::EVENTS);
  EXPECT_FALSE(asked.ok);
  EXPECT_THAT(asked.sentence, HasSubstr("flight recorder's log could not be opened"));
}

constexpr OperatorRequest::Command kOfARunningGuest[] = {OperatorRequest::Command::POWER_BUTTON, OperatorRequest::Command::CONSOLE,
                                                         OperatorRequest::Command::BALLOON, OperatorRequest::Command::VERIFY};

TEST_F(NodeRunnerTest, AGuestThatIsOverIsNotAskedForAnything) {
  run_the_guest();
  runner_->feed(input::GuestStopped{"the guest powered off at noon"});
  for (const auto command : kOfARunningGuest) {
    const auto refused = ask(command);
    EXPECT_FALSE(refused.ok);
    EXPECT_EQ(refused.sentence, "node b is solo: the guest does not run: the guest powered off at noon");
  }
  EXPECT_EQ(guest_.presses, 0);
}

TEST_F(NodeRunnerTest, ANodeThatIsNotTheHolderSaysWhoIs) {
  start(false);
  EXPECT_EQ(ask(OperatorRequest::Command::POWER_BUTTON).sentence, "node b is starting: the guest does not run here");
  Heartbeat beat;
  beat.sender = kPeer;
  beat.sequence = 1;
  beat.role = Role::kPrimary;
  beat.term = Term{2};
  runner_->feed(input::HeartbeatReceived{beat});
  arbiter_.answer(ArbiterRecord{Term{2}, PairMode::kSolo, kPeer, {kPeer}, RequestId{1}});
  for (const auto command : kOfARunningGuest) {
    const auto refused = ask(command);
    EXPECT_FALSE(refused.ok);
    EXPECT_EQ(refused.sentence, "node b is secondary: the guest does not run here but on node a; ask there");
  }
  EXPECT_EQ(guest_.presses, 0);
}

}  // namespace
}  // namespace understudy
