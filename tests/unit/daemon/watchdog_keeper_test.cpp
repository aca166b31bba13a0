// When the watchdogs are told that all is well.
#include "failover/daemon/watchdog_keeper.h"

#include <gtest/gtest.h>

#include "tests/unit/daemon/no_guest.h"

namespace understudy {
namespace {

class Counting final : public Watchdog {
 public:
  struct Seen {
    int pets = 0;
    bool disarmed = false;
  };
  Counting(Seen& seen, Duration period) : seen_{seen}, period_{period} {}
  void pet() override { ++seen_.pets; }
  void disarm() override { seen_.disarmed = true; }
  Duration period() const override { return period_; }

 private:
  Seen& seen_;
  const Duration period_;
};

class WatchdogKeeperTest : public testing::Test {
 protected:
  void SetUp() override {
    auto loop = EventLoop::create(clock_);
    ASSERT_TRUE(loop);
    loop_ = std::move(*loop);
  }
  void keep(std::initializer_list<Duration> periods) {
    std::vector<std::unique_ptr<Watchdog>> watchdogs;
    for (const Duration period : periods) watchdogs.push_back(std::make_unique<Counting>(seen_, period));
    keeper_ = std::make_unique<WatchdogKeeper>(*loop_, std::move(watchdogs), guest_, [this] { return unfit_; });
  }

  const MonotonicClock clock_;
  std::unique_ptr<EventLoop> loop_;
  NoGuest guest_;
  Counting::Seen seen_;
  std::string unfit_;
  std::unique_ptr<WatchdogKeeper> keeper_;
};

TEST_F(WatchdogKeeperTest, AllThatThereAreArePettedAndDisarmedAtTheEnd) {
  keep({std::chrono::seconds{10}, std::chrono::seconds{5}});
  EXPECT_EQ(seen_.pets, 2);
  EXPECT_FALSE(seen_.disarmed);
  keeper_.reset();
  EXPECT_TRUE(seen_.disarmed);
}

TEST_F(WatchdogKeeperTest, AnUnfitNodePetsNone) {
  unfit_ = "sick";
  keep({std::chrono::seconds{10}});
  EXPECT_EQ(seen_.pets, 0);
}

TEST_F(WatchdogKeeperTest, WithoutAWatchdogNobodyIsAsked) {
  keep({});
  EXPECT_EQ(guest_.answers, 0);
}

}  // namespace
}  // namespace understudy
