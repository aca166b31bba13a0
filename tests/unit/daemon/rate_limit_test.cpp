// A burst passes, then a steady rate; what is held back is told with the next line.
#include "failover/daemon/rate_limit.h"

#include <gtest/gtest.h>

namespace understudy {
namespace {

using std::chrono::milliseconds;

TEST(RateLimit, ABurstPassesThenASteadyRate) {
  RateLimit limit{3, milliseconds{100}};
  Instant now{};
  for (int i = 0; i < 3; ++i) EXPECT_EQ(limit.admit("link broken", now), 0u);
  EXPECT_FALSE(limit.admit("link broken", now));
  EXPECT_FALSE(limit.admit("link broken", now + milliseconds{99}));
  EXPECT_EQ(limit.admit("link broken", now + milliseconds{101}), 2u) << "and tells how many were held back";
  EXPECT_FALSE(limit.admit("link broken", now + milliseconds{102}));
}

TEST(RateLimit, EventsDoNotShareTheirBudget) {
  RateLimit limit{1, milliseconds{100}};
  EXPECT_TRUE(limit.admit("a", Instant{}));
  EXPECT_FALSE(limit.admit("a", Instant{}));
  EXPECT_TRUE(limit.admit("b", Instant{}));
}

TEST(RateLimit, ALongQuietGivesNoMoreThanTheBurst) {
  RateLimit limit{2, milliseconds{1}};
  const Instant later{std::chrono::hours{1}};
  EXPECT_TRUE(limit.admit("a", Instant{}));
  EXPECT_TRUE(limit.admit("a", later));
  EXPECT_TRUE(limit.admit("a", later));
  EXPECT_FALSE(limit.admit("a", later));
}

}  // namespace
}  // namespace understudy
