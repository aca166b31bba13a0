// An operator's words to the arbiter: to a witness on loopback, and to an etcd that is not there.
#include "failover/daemon/arbiter_command.h"

#include <cstdlib>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "failover/daemon/on_loop.h"
#include "failover/witness_server.h"

namespace understudy {
namespace {

using testing::HasSubstr;

class ArbiterCommandTest : public testing::Test {
 protected:
  ArbiterCommandTest() {
    std::string path = (std::filesystem::temp_directory_path() / "understudy-arbiter-XXXXXX").string();
    folder_ = ::mkdtemp(path.data());
    config_.security.own = CurveSecretKey::generate();
    config_.security.witness = witness_key_.public_key();
    config_.pair = {.name = "shop", .id = pair_id_of("shop"), .node = NodeId::kA};
  }
  ~ArbiterCommandTest() override {
    if (thread_) static_cast<void>(on_loop(thread_->loop(), [this]() -> Result<void> { return server_.reset(), Result<void>{}; }));
    store_.reset();
    std::filesystem::remove_all(folder_);
  }
  void start_witness() {
    store_ = std::move(WitnessStore::open(folder_ / "store", WitnessStore::Open::kReplacement).value());
    thread_ = std::move(LoopThread::start(clock_, "witness-test").value());
    ASSERT_TRUE(on_loop(thread_->loop(), [this]() -> Result<void> {
      US_ASSIGN(server_, WitnessServer::create(thread_->loop(), ZmqContext::create(), *store_, "tcp://127.0.0.1:*",
                                               ServiceKeys{witness_key_, {config_.security.own->public_key()}}));
      return {};
    }));
    config_.witness = server_->endpoint();
  }

  const MonotonicClock clock_;
  const CurveSecretKey witness_key_ = CurveSecretKey::generate();
  std::filesystem::path folder_;
  DaemonConfig config_;
  std::unique_ptr<WitnessStore> store_;
  std::unique_ptr<LoopThread> thread_;
  std::unique_ptr<WitnessServer> server_;
};

TEST_F(ArbiterCommandTest, AWitnessIsShownAndSeeded) {
  start_witness();
  const auto before = show_arbiter(config_, clock_);
  ASSERT_TRUE(before) << before.error().text();
  EXPECT_THAT(*before, HasSubstr("the witness at " + config_.witness + ", store "));
  EXPECT_THAT(*before, HasSubstr("pair shop: no record"));
  const auto seeded = seed_arbiter(config_, Term{9}, {NodeId::kB, Incarnation{22}}, clock_);
  ASSERT_TRUE(seeded) << seeded.error().text();
  EXPECT_EQ(*seeded, "pair shop is seeded: term 9, solo; holder: node b (incarnation 22); eligible: node b (incarnation 22)");
  EXPECT_THAT(*show_arbiter(config_, clock_), HasSubstr("pair shop: term 9, solo"));
  const auto again = seed_arbiter(config_, Term{10}, {NodeId::kA, Incarnation{11}}, clock_);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code(), ErrorCode::kRefused);
  EXPECT_THAT(again.error().text(), HasSubstr("the record is intact"));
  EXPECT_THAT(set_up_arbiter(config_, EtcdSetUp::kNew, clock_).error().text(), HasSubstr("is set up where it runs"));
}

TEST_F(ArbiterCommandTest, AWitnessThatDoesNotAdmitTheKeySaysSo) {
  start_witness();
  config_.security.own = CurveSecretKey::generate();
  const auto shown = show_arbiter(config_, clock_);
  ASSERT_FALSE(shown);
  EXPECT_THAT(shown.error().text(), HasSubstr("it does not admit this node's key"));
}

TEST_F(ArbiterCommandTest, AnEtcdThatIsNotThereIsOneClearError) {
  config_.etcd.emplace().endpoints = {*EtcdEndpoint::parse("http://127.0.0.1:1")};
  const std::string says = "etcd: http://127.0.0.1:1: no connection";
  EXPECT_EQ(show_arbiter(config_, clock_).error().text(), says);
  EXPECT_EQ(set_up_arbiter(config_, EtcdSetUp::kReplacement, clock_).error().text(), says);
  EXPECT_EQ(seed_arbiter(config_, Term{9}, {NodeId::kB, Incarnation{22}}, clock_).error().text(), says);
}

TEST_F(ArbiterCommandTest, ACheckReadsTheFiles) {
  auto& etcd = config_.etcd.emplace();
  etcd.endpoints = {*EtcdEndpoint::parse("https://127.0.0.1:1")};
  etcd.tls = EtcdTls{.ca = "/nowhere/ca.pem", .cert = {}, .key = {}};
  const auto checked = check_arbiter(config_);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().text(), "etcd: CA file /nowhere/ca.pem: cannot be read");
}

}  // namespace
}  // namespace understudy
