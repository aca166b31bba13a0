// The lab's client, wire tap and judges against a stand-in for the guest, on the lab's real networks: a change of hosts that is right is
// found right, and each wrong that the demo is there to find is found. Runs inside tests/lab/lab.
#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/lab/child.h"
#include "tests/lab/kv_client.h"
#include "tests/lab/lab_pair.h"
#include "tests/lab/speakers.h"
#include "tests/lab/stand_in.h"
#include "tests/lab/wire_tap.h"

namespace understudy::lab {
namespace {

class LabNetwork : public testing::Test {
 protected:
  void SetUp() override {
    auto wire = WireTap::start(clock_, {"a-svc", "b-svc"}, kGuestMac);
    ASSERT_TRUE(wire) << wire.error().text();
    wire_ = std::move(*wire);
  }
  void TearDown() override {
    for (const auto& host : kHosts) {
      [[maybe_unused]] const auto left =
          run_command(clock_, {"ip", "-n", host, "address", "flush", "dev", "br-svc"}, std::chrono::seconds{5});
    }
  }

  std::unique_ptr<StandIn> stand_in(const std::string& host, const guest::KvService& state) {
    auto started = StandIn::start(host, state);
    EXPECT_TRUE(started) << started.error().text();
    return started ? std::move(*started) : nullptr;
  }
  void start_client() {
    auto client = KvClient::start(clock_, "client", kGuestIp, {});
    ASSERT_TRUE(client) << client.error().text();
    client_ = std::move(*client);
  }
  // Until so many more requests are acknowledged; the bound is only against a hang.
  void wait_for(std::uint64_t more) {
    const std::uint64_t target = client_->acknowledged() + more;
    const Instant give_up_at = clock_.now() + std::chrono::seconds{30};
    while (client_->acknowledged() < target && clock_.now() < give_up_at) std::this_thread::sleep_for(std::chrono::milliseconds{2});
    ASSERT_GE(client_->acknowledged(), target);
  }
  void finish() {
    client_->finish(std::chrono::seconds{20});
    wire_->stop();
    history_ = judge_history(client_->workload().replies(), client_->workload().unanswered());
    speakers_ = judge_speakers(wire_->frames(), [](const GuestFrame&) { return false; });
  }

  const MonotonicClock clock_;
  std::unique_ptr<WireTap> wire_;
  std::unique_ptr<KvClient> client_;
  HistoryFindings history_;
  SpeakerFindings speakers_;
};

TEST_F(LabNetwork, AWholeChangeOfHostsIsClean) {
  auto on_a = stand_in("host-a", {});
  start_client();
  wait_for(200);
  const auto state = on_a->stop();
  TearDown();
  auto on_b = stand_in("host-b", state);
  wait_for(200);
  finish();
  EXPECT_TRUE(history_.clean()) << testing::PrintToString(history_.examples);
  EXPECT_EQ(client_->workload().unanswered(), 0U);
  EXPECT_TRUE(spoke_one_at_a_time(speakers_)) << testing::PrintToString(speakers_.examples);
  EXPECT_TRUE(speakers_.changed_at);
  EXPECT_GE(speakers_.hosts[0].frames, 200U);
  EXPECT_GE(speakers_.hosts[1].frames, 200U);
  EXPECT_EQ(wire_->missed(), 0U);
}

TEST_F(LabNetwork, ASuccessorThatForgotIsFound) {
  auto on_a = stand_in("host-a", {});
  start_client();
  wait_for(100);
  on_a->stop();
  TearDown();
  auto on_b = stand_in("host-b", {});
  wait_for(100);
  finish();
  EXPECT_GE(history_.lost, 50U);
  EXPECT_FALSE(history_.clean());
}

TEST_F(LabNetwork, TwoHostsThatAnswerAreFound) {
  auto on_a = stand_in("host-a", {});
  start_client();
  wait_for(100);
  const auto state = on_a->stop();
  TearDown();
  auto on_b = stand_in("host-b", state);
  wait_for(100);
  auto again_on_a = stand_in("host-a", on_b->stop());
  wait_for(10);
  finish();
  EXPECT_TRUE(history_.clean());  // the client alone would not have noticed
  EXPECT_FALSE(spoke_one_at_a_time(speakers_));
  EXPECT_FALSE(speakers_.examples.empty());
}

}  // namespace
}  // namespace understudy::lab
