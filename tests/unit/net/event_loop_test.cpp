// One thread's loop: timers, messages and descriptors, none of which may starve the others.
#include "net/base/event_loop.h"

#include <gtest/gtest.h>

#include "tests/unit/net/loop_fixture.h"

namespace understudy {
namespace {

class EventLoopTest : public LoopTest {};

// A timer whose time has come whenever it is armed. Owned by its own timers.
struct AlwaysDue {
  explicit AlwaysDue(EventLoop& its_loop) : loop{its_loop} {}
  static void arm(const std::shared_ptr<AlwaysDue>& self) {
    ++self->turns;
    if (self->go_on) self->loop.call_at(Instant{}, [self] { arm(self); });
  }
  EventLoop& loop;
  bool go_on = true;
  int turns = 0;
};

TEST_F(EventLoopTest, ATimerThatIsAlwaysDueAgainStarvesNobody) {
  const auto again = std::make_shared<AlwaysDue>(loop());
  on_loop([&] { AlwaysDue::arm(again); });
  ASSERT_TRUE(eventually([&] { return again->turns > 10; }));
  // A message still gets its turn; without one, this waits in vain.
  EXPECT_TRUE(loop().post_and_wait([again] { again->go_on = false; }, kHang));
}

TEST_F(EventLoopTest, TimersRunInTheirOrderAndACancelledOneNever) {
  std::vector<int> order;
  EventLoop::TimerId third = 0;
  on_loop([&] {
    const Instant now = clock_.now();
    loop().call_at(now + std::chrono::milliseconds{2}, [&] { order.push_back(2); });
    loop().call_at(now + std::chrono::milliseconds{1}, [&] {
      order.push_back(1);
      loop().cancel(third);
    });
    third = loop().call_at(now + std::chrono::milliseconds{3}, [&] { order.push_back(3); });
    loop().call_at(now + std::chrono::milliseconds{4}, [&] { order.push_back(4); });
  });
  ASSERT_TRUE(eventually([&] { return order.size() == 3; }));
  EXPECT_EQ(on_loop([&] { return order; }), (std::vector<int>{1, 2, 4}));
}

TEST_F(EventLoopTest, TimersDueTogetherMayCancelEachOther) {
  std::vector<int> order;
  on_loop([&] {
    const Instant past = clock_.now() - std::chrono::milliseconds{1};
    const auto first = loop().call_at(past, [&] { order.push_back(1); });
    loop().call_at(past - std::chrono::milliseconds{1}, [&, first] {
      order.push_back(0);
      loop().cancel(first);
    });
  });
  on_loop([] {});
  ASSERT_TRUE(eventually([&] { return !order.empty(); }));
  EXPECT_EQ(on_loop([&] { return order; }), std::vector<int>{0});
}

TEST_F(EventLoopTest, AMessageIsNotWaitedForBeyondItsDeadline) {
  std::atomic<bool> go_on{false};
  loop().post([&] {
    while (!go_on) std::this_thread::sleep_for(std::chrono::milliseconds{1});
  });
  EXPECT_FALSE(loop().post_and_wait([] {}, std::chrono::milliseconds{20}));
  go_on = true;
  EXPECT_TRUE(loop().post_and_wait([] {}, kHang));
}

// A loop without a thread: the test is its thread.
TEST(EventLoopByHand, RunsWhatIsReadyAndNothingThatIsNot) {
  const MonotonicClock clock;
  const auto loop = *EventLoop::create(clock);
  std::vector<int> order;
  loop->call_at(clock.now() + std::chrono::hours{1}, [&] { order.push_back(9); });
  loop->post([&] {
    order.push_back(1);
    EXPECT_TRUE(loop->on_loop_thread());
    loop->post([&] { order.push_back(2); });
  });
  EXPECT_TRUE(loop->run_ready());
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
  const std::function<void()> again = [&] { loop->post(again); };
  loop->post(again);
  EXPECT_FALSE(loop->run_ready()) << "there is always one more";
}

}  // namespace
}  // namespace understudy
