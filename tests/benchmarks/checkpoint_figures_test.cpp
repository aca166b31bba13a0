// What is made of measured windows: percentiles, what is kept and added against the same machine unprotected, and the three forms.
#include "tests/benchmarks/checkpoint_figures.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/benchmarks/colo_pair.h"
#include "tests/benchmarks/cpu_use.h"
#include "tests/benchmarks/load_view.h"

namespace understudy::bench {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::Optional;

TEST(Percentile, IsTheNearestRank) {
  std::vector<double> samples;
  for (int i = 100; i > 0; --i) samples.push_back(i);
  EXPECT_THAT(percentile(samples, 50), Optional(50.0));
  EXPECT_THAT(percentile(samples, 99), Optional(99.0));
  EXPECT_THAT(percentile(samples, 100), Optional(100.0));
  EXPECT_THAT(percentile({7}, 1), Optional(7.0));
  EXPECT_EQ(percentile({}, 50), std::nullopt);
}

CheckpointFigures sample() {
  CheckpointFigures figures;
  figures.add({System::kNone, 0, 256}, {.writes_per_second = 10e6});
  figures.add_echo({System::kNone, 0, 256}, {.p50_us = 400, .p99_us = 900});
  figures.add({System::kNoneQemu, 0, 256}, {.writes_per_second = 20e6});
  for (const double pause : {300.0, 500.0, 400.0})
    figures.add({System::kUnderstudy, 100, 256},
                {.writes_per_second = 9e6, .pauses_us = {pause, pause}, .acks_us = {800}, .link_bytes = 4000});
  figures.add_echo({System::kUnderstudy, 100, 256}, {.p50_us = 1400, .p99_us = 2900});
  figures.add_kill(System::kUnderstudy, 100, 4);
  figures.add({System::kColo, 100, 256}, {.writes_per_second = 15e6, .pauses_us = {2000}, .link_bytes = std::nullopt});
  figures.discarded_window();
  return figures;
}

TEST(CheckpointFigures, AreComparedWithTheSameMachineUnprotected) {
  const auto rows = sample().rows();
  ASSERT_EQ(rows.size(), 4U);
  const CheckpointRow& ours = rows[1];
  EXPECT_EQ(ours.at.system, System::kUnderstudy);
  EXPECT_EQ(ours.windows, 3U);
  EXPECT_THAT(ours.pause_p50_us, Optional(400.0));
  EXPECT_THAT(ours.throughput_kept, Optional(DoubleNear(0.9, 1e-9)));
  EXPECT_THAT(ours.bytes_per_epoch, Optional(2000.0));
  EXPECT_THAT(ours.ack_p50_us, Optional(800.0));
  EXPECT_THAT(ours.egress_added_p50_us, Optional(1000.0));
  EXPECT_THAT(ours.egress_added_p99_us, Optional(2000.0));
  EXPECT_THAT(ours.kill_to_run_ms, Optional(4.0));
  const CheckpointRow& colo = rows[3];
  EXPECT_THAT(colo.throughput_kept, Optional(DoubleNear(0.75, 1e-9))) << "of QEMU's own";
  EXPECT_EQ(colo.bytes_per_epoch, std::nullopt);
  EXPECT_EQ(colo.egress_added_p50_us, std::nullopt);
}

TEST(CheckpointFigures, JsonHasEveryKeyAndNullWhereThereIsNothing) {
  const std::string json = checkpoint_as_json(sample(), {.ram_mib = 256, .vcpus = 1});
  EXPECT_THAT(json, HasSubstr(R"({"system": "understudy", "pages": 256, "interval_ms": 100, "pause_p50_us": 400, "pause_p99_us": 400, )"
                              R"("throughput_kept": 0.9, "bytes_per_epoch": 2000, "ack_p50_us": 800, "egress_added_p50_us": 1000, )"
                              R"("egress_added_p99_us": 2000, "kill_to_run_ms": 4, "ram_mib": 256, "vcpus": 1})"));
  EXPECT_THAT(json, HasSubstr(R"("bytes_per_epoch": null)"));
  EXPECT_THAT(json, Not(HasSubstr("qemu"))) << "a system of the table alone";
}

TEST(CheckpointFigures, TheTableTellsWhatIsMissingAndHowManyWindowsWereThrownAway) {
  auto figures = sample();
  figures.missing(System::kColo, "QEMU is not installed");
  figures.missing(System::kColo, "again");
  const std::string text = checkpoint_as_text(figures);
  EXPECT_THAT(text, HasSubstr("thrown away because something else used the machine: 1\n"));
  EXPECT_THAT(text, HasSubstr("missing of colo: QEMU is not installed\n"));
}

TEST(CheckpointFigures, ThePictureHasALineForEachSystemAndInterval) {
  const std::string svg = checkpoint_as_svg(sample());
  EXPECT_THAT(svg, HasSubstr("understudy, every 100 ms</text>"));
  EXPECT_THAT(svg, HasSubstr("colo, every 100 ms</text>"));
  EXPECT_THAT(svg, Not(HasSubstr(">none")));
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
}

TEST(ColoTrace, StopsAreFromRunningToRunning) {
  const std::string trace =
      "77@1700000000.000100:runstate_set current_run_state 5 (colo) new_state 9 (running)\n"
      "77@1700000000.100000:runstate_set current_run_state 9 (running) new_state 15 (colo)\n"
      "something else\n"
      "77@1700000000.102500:runstate_set current_run_state 15 (colo) new_state 9 (running)\n"
      "77@1700000000.200000:runstate_set current_run_state 9 (running) new_state 15 (colo)\n"
      "77@1700000000.20";
  EXPECT_THAT(stops_us(trace), ElementsAre(DoubleNear(2500, 1)));
}

TEST(CpuUse, ReadsWhatTheKernelWrites) {
  EXPECT_THAT(all_ticks("cpu  100 20 30 4000 50 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n").value(), 158);
  EXPECT_FALSE(all_ticks("cpu0 1 2 3"));
  EXPECT_THAT(process_ticks("12 (a) name) S 1 12 12 0 -1 4194560 9 0 0 0 70 8 5 2 20 0 1 0 33").value(), 85);
  EXPECT_FALSE(process_ticks("12 (name) S 1 12"));
  EXPECT_FALSE(process_ticks(""));
}

TEST(Gaps, ABucketHoldsWhatFallsIntoIt) {
  for (const std::uint64_t ticks : {8ULL, 9ULL, 15ULL, 16ULL, 30'000ULL, 123'456'789ULL, 1ULL << 40}) {
    const std::uint32_t bucket = gap_bucket(ticks);
    EXPECT_LE(gap_bucket_begins_at(bucket), ticks);
    EXPECT_GT(gap_bucket_begins_at(bucket + 1), ticks);
  }
  EXPECT_EQ(gap_bucket(~0ULL), kGapBuckets - 1);
}

TEST(Gaps, TheLongestOfAWindowAreTold) {
  LoadReading before{.at = Instant{}, .tsc = 1000, .writes = 5, .gaps = {}};
  before.gaps[gap_bucket(1'000'000)] = 4;
  LoadReading now{.at = Instant{std::chrono::seconds{1}}, .tsc = 1000 + 1'000'000'000, .writes = 105, .gaps = before.gaps};
  now.gaps[gap_bucket(1'000'000)] += 1;  // 1000 us, at a thousand ticks each
  now.gaps[gap_bucket(50'000)] += 3;
  EXPECT_THAT(longest_gaps_us(before, now, 2), ElementsAre(DoubleNear(50, 4), DoubleNear(1000, 70)));
  EXPECT_EQ(longest_gaps_us(before, now, 10).size(), 4U);
  EXPECT_DOUBLE_EQ(writes_per_second(before, now), 100);
}

}  // namespace
}  // namespace understudy::bench
