// Fail-slow: sequences of latencies that are a sick path, and those that are not.
#include "failover/latency_watch.h"

#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A path in virtual time.
struct Path {
  // One exercise after the other, with 150 ms between: for so long, each as slow as `latency` says.
  template <class Latency>
  void run(Duration length, Latency latency, std::uint64_t load = 10) {
    const Instant end = now + length;
    while (now < end) {
      const Duration took = latency();
      now += took + milliseconds{150};
      watch.add(now, took, load);
      if (watch.slow() && !slow_at) slow_at = now;
      if (watch.suspected(now) && !suspected_at) suspected_at = now;
    }
  }
  Duration uniform(double low_ms, double high_ms) {
    return Duration{static_cast<std::int64_t>(std::uniform_real_distribution{low_ms, high_ms}(random)*1e6)};
  }
  bool chance(double p) { return std::bernoulli_distribution{p}(random); }
  void be_usual(std::uint64_t load = 10) {
    run(
        seconds{60}, [this] { return uniform(1, 4); }, load);
  }

  std::mt19937 random{5};
  Instant now{seconds{100}};
  LatencyWatch watch;
  std::optional<Instant> slow_at;
  std::optional<Instant> suspected_at;
};

TEST(FailSlow, APathThatBecomesSlowIsFoundWithinTenSeconds) {
  for (const double ms : {60.0, 120.0, 300.0, 550.0}) {
    Path path;
    path.be_usual();
    ASSERT_FALSE(path.slow_at) << ms;
    const Instant struck = path.now;
    path.run(seconds{10}, [&] { return path.uniform(ms * 0.8, ms * 1.2); });
    ASSERT_TRUE(path.suspected_at) << ms;
    EXPECT_LT(*path.suspected_at - struck, milliseconds{8500}) << ms << ": a heartbeat and the peer's hold come on top";
    EXPECT_THAT(path.watch.text(), testing::ContainsRegex("takes [0-9]+ ms, where at most [0-9]+ ms was usual"));
  }
}

TEST(FailSlow, SpikesAreNot) {
  Path path;
  path.be_usual();
  path.run(std::chrono::hours{1}, [&] { return path.chance(0.1) ? milliseconds{200} + path.uniform(0, 10) : path.uniform(1, 4); });
  EXPECT_FALSE(path.slow_at);
  path.run(std::chrono::hours{1}, [&] { return path.chance(0.2) ? milliseconds{200} + path.uniform(0, 10) : path.uniform(1, 4); });
  EXPECT_FALSE(path.suspected_at) << "a burst of them may be told, and is no reason to move";
}

// Four fifths of the CPU are somebody else's, in slices of 100 ms: most exercises wait for their turn.
TEST(FailSlow, StolenCpuIsNot) {
  Path path;
  path.be_usual();
  path.run(std::chrono::hours{1}, [&] { return path.uniform(1, 4) + (path.chance(0.8) ? path.uniform(0, 80) : Duration{}); });
  EXPECT_FALSE(path.suspected_at);
}

// A lost frame costs an echo one period.
TEST(FailSlow, LostFramesAreNot) {
  Path path;
  path.be_usual();
  path.run(std::chrono::hours{1}, [&] { return path.chance(0.04) ? milliseconds{100} + path.uniform(1, 4) : path.uniform(0.2, 1); });
  EXPECT_FALSE(path.slow_at);
}

TEST(FailSlow, LoadIsNot) {
  Path path;
  path.be_usual(10);
  path.be_usual(1000);
  path.run(
      seconds{120}, [&] { return path.uniform(20, 90); }, 100'000);  // never seen before: nothing to compare it with
  EXPECT_FALSE(path.slow_at);
  path.run(
      seconds{60}, [&] { return path.uniform(20, 90); }, 100'000);
  EXPECT_FALSE(path.slow_at);
  // The same latency with hardly any load is what a busy disk does not explain.
  const Instant struck = path.now;
  path.run(
      seconds{10}, [&] { return path.uniform(20, 90); }, 10);
  ASSERT_TRUE(path.slow_at);
  EXPECT_LT(*path.slow_at - struck, seconds{5});
}

TEST(FailSlow, WhatLastsDoesNotBecomeUsual) {
  Path path;
  path.be_usual();
  path.run(std::chrono::minutes{30}, [&] { return path.uniform(100, 140); });
  EXPECT_TRUE(path.watch.slow());
  path.be_usual();
  EXPECT_FALSE(path.watch.slow()) << "mended";
  EXPECT_LT(*path.watch.usual(), milliseconds{5});
}

TEST(FailSlow, WithoutAHistoryNothingIsSaid) {
  Path path;
  path.run(seconds{5}, [&] { return path.uniform(300, 400); });
  EXPECT_FALSE(path.slow_at);
}

}  // namespace
}  // namespace understudy
