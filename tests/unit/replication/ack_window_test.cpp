// The ack window: what counts, what is stale, what is impossible.
#include "replication/ack_window.h"

#include <gtest/gtest.h>

namespace understudy {
namespace {

using namespace std::chrono_literals;

constexpr AckSource kSource{Term{3}, Session{8}, Incarnation{21}};

// Committed 7; 8, 9 and 12 sent (10 and 11 were lost with a session before).
AckWindow window_at_7() {
  AckWindow window{{.max_in_flight = 3, .ack_timeout = 100ms}};
  window.open(kSource, Epoch{7});
  window.sent(Epoch{8}, Instant{10ms});
  window.sent(Epoch{9}, Instant{20ms});
  window.sent(Epoch{12}, Instant{30ms});
  return window;
}

struct Case {
  std::string name;
  std::vector<std::uint64_t> acks;
  std::uint64_t committed;
  bool ok;
};
class AckWindowTest : public ::testing::TestWithParam<Case> {};

TEST_P(AckWindowTest, Acks) {
  AckWindow window = window_at_7();
  bool ok = true;
  for (const std::uint64_t epoch : GetParam().acks) ok = ok && window.acked(kSource, Epoch{epoch}).has_value();
  EXPECT_EQ(ok, GetParam().ok);
  EXPECT_EQ(window.committed(), Epoch{GetParam().committed});
}

INSTANTIATE_TEST_SUITE_P(All, AckWindowTest,
                         ::testing::Values(Case{"Cumulative", {9}, 9, true}, Case{"LateAckDoesNotMoveBack", {9, 8}, 9, true},
                                           Case{"Repeated", {8, 8}, 8, true}, Case{"AcrossAGap", {12}, 12, true},
                                           Case{"NeverSentBeyond", {13}, 7, false}, Case{"NeverSentBetween", {10}, 7, false},
                                           Case{"BeforeAll", {1}, 7, true}),
                         [](const auto& tested) { return tested.param.name; });

TEST(AckWindowSourceTest, OthersChangeNothingAndAreCounted) {
  AckWindow window = window_at_7();
  for (const AckSource& other : {AckSource{Term{2}, Session{8}, Incarnation{21}}, AckSource{Term{4}, Session{8}, Incarnation{21}},
                                 AckSource{Term{3}, Session{9}, Incarnation{21}}, AckSource{Term{3}, Session{8}, Incarnation{22}}}) {
    const auto acked = window.acked(other, Epoch{9});
    ASSERT_TRUE(acked);
    EXPECT_FALSE(*acked);
  }
  EXPECT_EQ(window.committed(), Epoch{7});
  EXPECT_EQ(window.stale_acks(), 4U);
}

TEST(AckWindowSourceTest, ARaisedTermTakesOnlyItsOwnAcks) {
  AckWindow window = window_at_7();
  window.raise(Term{4});
  EXPECT_FALSE(*window.acked(kSource, Epoch{9}));
  EXPECT_TRUE(*window.acked({Term{4}, Session{8}, Incarnation{21}}, Epoch{9}));
}

TEST(AckWindowBoundTest, FullAndOverdue) {
  AckWindow window = window_at_7();
  EXPECT_TRUE(window.full());
  EXPECT_EQ(window.overdue_at(), Instant{110ms + 1ns});
  EXPECT_FALSE(window.overdue(Instant{110ms}));
  EXPECT_TRUE(window.overdue(window.overdue_at()));
  ASSERT_TRUE(*window.acked(kSource, Epoch{8}));
  EXPECT_FALSE(window.full());
  EXPECT_FALSE(window.overdue(Instant{111ms}));  // the next one was sent later
  ASSERT_TRUE(*window.acked(kSource, Epoch{12}));
  EXPECT_EQ(window.in_flight(), 0U);
  EXPECT_FALSE(window.overdue(Instant{1h}));
  EXPECT_EQ(window.overdue_at(), Instant::max());
}

TEST(AckWindowBoundTest, AnotherSessionForgetsWhatWasInFlight) {
  AckWindow window = window_at_7();
  window.open({Term{3}, Session{9}, Incarnation{21}}, Epoch{8});
  EXPECT_EQ(window.in_flight(), 0U);
  EXPECT_FALSE(window.acked({Term{3}, Session{9}, Incarnation{21}}, Epoch{9}));
}

}  // namespace
}  // namespace understudy
