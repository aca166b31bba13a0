#include "tests/benchmarks/comparison.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::bench {
namespace {

using testing::HasSubstr;

Row row_of(const Comparison& comparison, Measure measure) { return comparison.rows()[static_cast<std::size_t>(measure)]; }

TEST(Summarize, TakesMedianAndRange) {
  struct Case {
    const char* name;
    std::vector<double> samples;
    double median, least, most;
  };
  const Case cases[] = {
      {"one", {4}, 4, 4, 4},
      {"an odd count, in any order", {9, 1, 5}, 5, 1, 9},
      {"an even count", {8, 2, 4, 100}, 6, 2, 100},
      {"an outlier moves only the range", {1, 1, 1, 1, 1000}, 1, 1, 1000},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    const auto summary = summarize(test.samples);
    ASSERT_TRUE(summary.has_value());
    EXPECT_EQ(summary->count, test.samples.size());
    EXPECT_DOUBLE_EQ(summary->median, test.median);
    EXPECT_DOUBLE_EQ(summary->least, test.least);
    EXPECT_DOUBLE_EQ(summary->most, test.most);
  }
  EXPECT_FALSE(summarize({}).has_value());
}

TEST(Ratio, IsHowManyTimesBetter) {
  struct Case {
    const char* name;
    Measure measure;
    double understudy, qemu;
    std::optional<double> ratio;
  };
  const Case cases[] = {
      {"less time is better", Measure::kBootToInit, 10, 40, 4.0},
      {"more time is worse", Measure::kUdpRoundTrip, 40, 10, 0.25},
      {"a higher rate is better", Measure::kDiskFlush, 300, 100, 3.0},
      {"less memory is better", Measure::kMemory, 5, 20, 4.0},
      {"nothing is no rate", Measure::kDiskRead, 0, 100, std::nullopt},
      {"nothing can't be beaten", Measure::kDiskRead, 100, 0, std::nullopt},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    Comparison comparison;
    comparison.add(Vmm::kUnderstudy, test.measure, test.understudy);
    comparison.add(Vmm::kQemu, test.measure, test.qemu);
    EXPECT_EQ(row_of(comparison, test.measure).ratio(), test.ratio);
  }
}

TEST(Comparison, NamesEveryMeasureOnce) {
  const auto rows = Comparison{}.rows();
  ASSERT_EQ(rows.size(), kMeasureCount);
  std::vector<std::string> names;
  for (const auto& row : rows) names.emplace_back(info_of(row.measure).name);
  std::ranges::sort(names);
  EXPECT_EQ(std::ranges::adjacent_find(names), names.end());
}

TEST(Comparison, SaysWhatIsMissingAndWhy) {
  Comparison comparison;
  comparison.add(Vmm::kUnderstudy, Measure::kBootToInit, 12.5);
  comparison.missing(Vmm::kQemu, "start qemu: \"no\"\nsuch file");
  comparison.missing(Vmm::kQemu, "a later reason");
  const auto row = row_of(comparison, Measure::kBootToInit);
  EXPECT_EQ(row.missing[0], "");
  EXPECT_EQ(row.missing[1], "start qemu: \"no\"\nsuch file");
  EXPECT_FALSE(row.ratio().has_value());
  EXPECT_FALSE(comparison.complete(Vmm::kUnderstudy));
  EXPECT_FALSE(comparison.complete(Vmm::kQemu));

  const auto text = as_text({row});
  EXPECT_THAT(text, HasSubstr("missing of qemu: start qemu"));
  EXPECT_THAT(text, Not(HasSubstr("missing of understudy")));
  EXPECT_EQ(as_json({row}),
            "[\n {\"measure\": \"boot to init\", \"unit\": \"ms\", \"understudy\": 12.5, \"qemu\": null, \"ratio\": null, "
            "\"understudy_least\": 12.5, \"understudy_most\": 12.5, \"understudy_count\": 1, "
            "\"qemu_missing\": \"start qemu: \\\"no\\\"\\u000asuch file\"}\n]\n");
}

TEST(Comparison, IsCompleteWithASampleOfEach) {
  Comparison comparison;
  for (std::size_t i = 0; i < kMeasureCount; ++i) comparison.add(Vmm::kQemu, static_cast<Measure>(i), 1);
  EXPECT_TRUE(comparison.complete(Vmm::kQemu));
  EXPECT_FALSE(comparison.complete(Vmm::kUnderstudy));
  comparison.missing(Vmm::kQemu, "it failed in a later round");
  EXPECT_FALSE(comparison.complete(Vmm::kQemu));
}

TEST(Comparison, GivesMediansRangesAndCountsAsJson) {
  Comparison comparison;
  for (const double value : {1.0, 2.0, 4.0}) comparison.add(Vmm::kUnderstudy, Measure::kBootToInit, value);
  for (const double value : {5.0, 3.0}) comparison.add(Vmm::kQemu, Measure::kBootToInit, value);
  EXPECT_EQ(as_json({row_of(comparison, Measure::kBootToInit)}),
            "[\n {\"measure\": \"boot to init\", \"unit\": \"ms\", \"understudy\": 2, \"qemu\": 4, \"ratio\": 2, "
            "\"understudy_least\": 1, \"understudy_most\": 4, \"understudy_count\": 3, "
            "\"qemu_least\": 3, \"qemu_most\": 5, \"qemu_count\": 2}\n]\n");
}

}  // namespace
}  // namespace understudy::bench
