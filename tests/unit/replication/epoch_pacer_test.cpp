// When an epoch ends: at once for an idle guest's output, as the bounds allow for a busy one's, and what is told where a budget can't be
// held.
#include "replication/epoch_pacer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr Instant kBegan{1s};

EpochPacer pacer_with(PacingConfig config, const EpochPrice& price) {
  EpochPacer pacer{config};
  for (int i = 0; i < 20; ++i) pacer.paid(price);
  pacer.began(kBegan);
  return pacer;
}

TEST(EpochPacer, WithoutOutputAnEpochLastsAsLongAsItMay) {
  const auto pacer = pacer_with({.longest = 25ms}, {.pause = 300us});
  EXPECT_EQ(pacer.end_at(), kBegan + 25ms);
  EXPECT_FALSE(pacer.output_since());
}

TEST(EpochPacer, AnIdleGuestsOutputEndsTheEpochAtOnce) {
  auto pacer = pacer_with({.longest = 25ms, .max_loss = 0.2}, {.pause = 300us});
  pacer.output_waits(kBegan + 10ms);
  pacer.output_waits(kBegan + 11ms);
  EXPECT_EQ(pacer.end_at(), kBegan + 10ms) << "since the first of it";
  pacer.began(kBegan + 11ms);
  EXPECT_EQ(pacer.end_at(), kBegan + 36ms) << "what waited has left";
}

TEST(EpochPacer, ACheapEpochMayStillHaveALeastLength) {
  auto pacer = pacer_with({.longest = 25ms, .shortest = 5ms}, {.pause = 1us});
  pacer.output_waits(kBegan + 1ms);
  EXPECT_EQ(pacer.end_at(), kBegan + 5ms);
  EXPECT_EQ(pacer.report().bound, EpochPacer::Bound::kNone);
}

TEST(EpochPacer, BeforeAnythingIsKnownOutputEndsTheEpoch) {
  EpochPacer pacer{{}};
  pacer.began(kBegan);
  pacer.output_waits(kBegan + 1us);
  EXPECT_EQ(pacer.end_at(), kBegan + 1us);
}

TEST(EpochPacer, TheGuestLosesNoMoreThanTheBound) {
  auto pacer = pacer_with({.longest = 25ms, .max_loss = 0.2}, {.pause = 500us, .faults = 500us});
  pacer.output_waits(kBegan + 1ms);
  EXPECT_EQ(pacer.end_at(), kBegan + 4ms) << "1 ms of 5 is a fifth";
  EXPECT_EQ(pacer.report().shortest, Duration{4ms});
  EXPECT_EQ(pacer.report().bound, EpochPacer::Bound::kLoss);
}

TEST(EpochPacer, ABusyGuestsOutputWaitsForTheLongestEpochAtMost) {
  auto pacer = pacer_with({.longest = 25ms, .max_loss = 0.2}, {.pause = 3ms, .faults = 90ms});
  pacer.output_waits(kBegan + 1ms);
  EXPECT_EQ(pacer.end_at(), kBegan + 25ms);
  EXPECT_EQ(pacer.report().bound, EpochPacer::Bound::kLongest);
}

TEST(EpochPacer, TheLinkIsUsedNoMoreThanTheBound) {
  auto pacer =
      pacer_with({.longest = 25ms, .max_loss = 0.2, .max_link_bytes_per_second = 100'000'000}, {.pause = 1us, .link_bytes = 1'000'000});
  pacer.output_waits(kBegan + 1ms);
  EXPECT_EQ(pacer.end_at(), kBegan + 10ms);
  EXPECT_EQ(pacer.report().bound, EpochPacer::Bound::kLink);
}

TEST(EpochPacer, WhatIsDearerIsBelievedSoonerThanWhatIsCheaper) {
  auto pacer = pacer_with({.longest = 1s, .max_loss = 0.5}, {.pause = 1ms});
  pacer.paid({.pause = 9ms});
  const Duration after_one = pacer.report().shortest;
  EXPECT_GE(after_one, Duration{5ms});
  pacer.paid({.pause = 1ms});
  EXPECT_GE(pacer.report().shortest, after_one * 8 / 10);
}

TEST(EpochPacer, ABudgetThatComesFirstMakesTheOtherBoundsGiveWay) {
  PacingConfig config{.longest = 25ms, .max_loss = 0.1, .budget = 5ms};
  const EpochPrice price{.pause = 1ms};
  for (const bool first : {false, true}) {
    config.budget_first = first;
    auto pacer = pacer_with(config, price);
    for (int i = 0; i < 20; ++i) pacer.released({.waited = 1ms, .pause = 1ms, .ack = 2ms});
    pacer.output_waits(kBegan);
    EXPECT_EQ(pacer.end_at(), kBegan + (first ? 2ms : 9ms));
    EXPECT_EQ(pacer.report().bound, first ? EpochPacer::Bound::kBudget : EpochPacer::Bound::kLoss);
    EXPECT_EQ(pacer.report().broken, "");
  }
}

TEST(EpochPacer, ABrokenBudgetNamesWhatBreaksIt) {
  const auto told = [](const OutputDelay& delay) {
    auto pacer = pacer_with({.longest = 25ms, .max_loss = 0.2, .budget = 5ms}, {.pause = 1ms});
    for (int i = 0; i < 100; ++i) pacer.released({.waited = 1ms, .pause = 1ms, .ack = 1ms});
    EXPECT_EQ(pacer.report().broken, "");
    for (int i = 0; i < 3; ++i) pacer.released(delay);
    EXPECT_EQ(pacer.report().late_p50, Duration{3ms});
    EXPECT_EQ(pacer.report().late_p99, delay.whole());
    return pacer.report().broken;
  };
  EXPECT_THAT(told({.waited = 4ms, .pause = 1ms, .ack = 1ms}),
              HasSubstr("output is 6.0 ms late at the 99th percentile, over the budget of 5.0 ms; most of it, 4.0 ms, is the wait for the "
                        "epoch's end, bounded by the guest's loss of time"));
  EXPECT_THAT(told({.waited = 1ms, .pause = 7ms, .ack = 1ms}), HasSubstr("7.0 ms, is the pause"));
  EXPECT_THAT(told({.waited = 1ms, .pause = 1ms, .ack = 20ms}), HasSubstr("20.0 ms, is the peer's acknowledgement"));
}

TEST(EpochPacer, OnlyTheLatestDelaysCount) {
  EpochPacer pacer{{.budget = 5ms}};
  for (std::size_t i = 0; i < EpochPacer::kWindow; ++i) pacer.released({.waited = 1s});
  EXPECT_NE(pacer.report().broken, "");
  for (std::size_t i = 0; i < EpochPacer::kWindow; ++i) pacer.released({.waited = 1ms});
  EXPECT_EQ(pacer.report().broken, "");
}

}  // namespace
}  // namespace understudy
