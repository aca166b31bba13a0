#include "failover/etcd_arbiter.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fake_etcd.h"
#include "tests/unit/net/loop_fixture.h"

namespace understudy {
namespace {

constexpr PairId kArbiterPair{7};
constexpr NodeIncarnation kNodeA{NodeId::kA, Incarnation{11}};

// Holds requests until it is opened, or cut.
class GatedMember final : public EtcdConnection {
 public:
  explicit GatedMember(FakeEtcd& cluster) : inner_{cluster, "etcd-1"} {}
  Result<std::string> post(const std::string& path, const std::string& json, Duration budget) override {
    std::unique_lock lock{mutex_};
    ++asked_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_ || cut_; });
    if (cut_) return Error{ErrorCode::kUnavailable, "stopped"};
    return inner_.post(path, json, budget);
  }
  void cut() override { set(cut_); }
  void open() { set(open_); }
  void wait_until_asked() {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [this] { return asked_ > 0; });
  }
  std::string endpoint() const override { return "etcd-1"; }

 private:
  void set(bool& what) {
    const std::lock_guard lock{mutex_};
    what = true;
    changed_.notify_all();
  }
  FakeMember inner_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false, cut_ = false;
  int asked_ = 0;
};

class EtcdArbiterTest : public LoopTest {
 protected:
  EtcdArbiterTest() {
    const EtcdKeys keys{"default", kArbiterPair};
    etcd_.put(keys.marker, encode_etcd_identity(keys.marker, {.cluster = 5, .witness = {.store = StoreId{5}, .amnesiac = false}}));
    EtcdStore::Members members;
    auto member = std::make_unique<GatedMember>(etcd_);
    member_ = member.get();
    members.push_back(std::move(member));
    auto store = std::make_unique<EtcdStore>(
        std::move(members), EtcdConfig{.endpoints = {}, .tls = {}, .prefix = "default", .timeout = kHang}, kArbiterPair, clock_);
    on_loop([&] { arbiter_ = EtcdArbiter::create(loop(), std::move(store)); });
  }
  ~EtcdArbiterTest() override {
    on_loop([this] { arbiter_.reset(); });
  }

  FakeEtcd etcd_{5};
  GatedMember* member_ = nullptr;
  std::unique_ptr<EtcdArbiter> arbiter_;
};

TEST_F(EtcdArbiterTest, AnswersComeOnTheLoopInOrderAndNeverFromWithinTheCall) {
  member_->open();
  std::vector<int> order;
  bool inside = false;
  on_loop([&] {
    inside = true;
    arbiter_->propose({.kind = ProposalKind::kBootstrap,
                       .request = RequestId{1},
                       .expected_term = {},
                       .at_least = Term{1},
                       .proposer = kNodeA,
                       .peer = {}},
                      [&](const Result<ArbiterAnswer>& answer) {
                        EXPECT_FALSE(inside);
                        EXPECT_TRUE(loop().on_loop_thread());
                        EXPECT_TRUE(answer && answer->granted);
                        order.push_back(1);
                        // From a callback, one may call again.
                        arbiter_->read([&](const Result<ArbiterAnswer>&) { order.push_back(3); });
                      });
    arbiter_->read([&](const Result<ArbiterAnswer>& answer) {
      EXPECT_EQ(answer->record->term, Term{1});
      order.push_back(2);
    });
    inside = false;
  });
  EXPECT_TRUE(eventually([&] { return order.size() == 3; }));
  EXPECT_EQ(order, (std::vector{1, 2, 3}));
}

TEST_F(EtcdArbiterTest, OutstandingCallsAreBoundedAndEachIsAnsweredOnce) {
  std::vector<ErrorCode> failed;
  int answered = 0;
  bool inside = false;
  on_loop([&] {
    inside = true;
    for (std::size_t i = 0; i < EtcdArbiter::kMaxOutstanding + 4; ++i) {
      arbiter_->read([&](const Result<ArbiterAnswer>& answer) {
        EXPECT_FALSE(inside) << "never from within the call";
        if (answer)
          ++answered;
        else
          failed.push_back(answer.error().code());
      });
    }
    inside = false;
  });
  EXPECT_TRUE(eventually([&] { return failed.size() == 4; }));
  EXPECT_THAT(failed, testing::Each(ErrorCode::kBusy));
  member_->open();
  EXPECT_TRUE(eventually([&] { return answered == static_cast<int>(EtcdArbiter::kMaxOutstanding); }));
  on_loop([&] { arbiter_->read([&](const Result<ArbiterAnswer>&) { ++answered; }); });
  EXPECT_TRUE(eventually([&] { return answered == static_cast<int>(EtcdArbiter::kMaxOutstanding) + 1; }));
  EXPECT_EQ(on_loop([&] { return failed.size(); }), 4U);
}

TEST_F(EtcdArbiterTest, ItsEndWaitsForNobodyAndCallsNobodyBack) {
  std::atomic<int> called{0};
  on_loop([&] {
    for (int i = 0; i < 3; ++i) arbiter_->read([&](const Result<ArbiterAnswer>&) { ++called; });
  });
  member_->wait_until_asked();
  on_loop([this] { arbiter_.reset(); });  // returns, though nobody opened
  on_loop([] {});
  EXPECT_EQ(called, 0);
}

}  // namespace
}  // namespace understudy
