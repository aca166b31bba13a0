// The join of KVM's log with the VMM's own writes, and that no failure loses a page: against a model of KVM's log that can fail.
#include "vmm/dirty_tracker.h"

#include <set>

#include <gtest/gtest.h>

namespace understudy {
namespace {

// Two regions; the second one's length is no multiple of 64.
const MemoryLayout kLayout{{{GuestPhysicalAddress{0}, PageIndex{0}, 128}, {GuestPhysicalAddress{1ULL << 32}, PageIndex{128}, 100}}};

class FakeLog final : public DirtyLog {
 public:
  Result<void> start() override {
    running = true;
    for (std::uint32_t slot = 0; slot < 2; ++slot) {
      for (std::uint64_t page = 0; page < kLayout.regions[slot].page_count; ++page) dirty.insert({slot, page});  // initially set
    }
    return {};
  }
  Result<void> stop() override {
    running = false;
    return {};
  }
  Result<void> read(std::uint32_t slot, std::span<std::uint64_t> bitmap) override {
    if (fail_reads_of == static_cast<int>(slot)) return Error{ErrorCode::kFailed, "KVM_GET_DIRTY_LOG"};
    std::ranges::fill(bitmap, 0);
    for (const auto& [s, page] : dirty) {
      if (s == slot) bitmap[page / 64] |= std::uint64_t{1} << (page % 64);
    }
    return {};
  }
  Result<void> clear(std::uint32_t slot, std::uint64_t first, std::uint32_t count, std::span<const std::uint64_t> bitmap) override {
    // What the kernel demands.
    EXPECT_EQ(first % 64, 0U);
    EXPECT_LE(first + count, kLayout.regions[slot].page_count);
    EXPECT_TRUE(count % 64 == 0 || first + count == kLayout.regions[slot].page_count);
    EXPECT_GE(bitmap.size() * 64, count);
    for (std::uint64_t i = 0; i < count; ++i) {
      if ((bitmap[i / 64] >> (i % 64) & 1) == 0) continue;
      if (fail_clears_after == 0) return Error{ErrorCode::kFailed, "KVM_CLEAR_DIRTY_LOG"};
      if (fail_clears_after > 0) --fail_clears_after;
      dirty.erase({slot, first + i});
    }
    return {};
  }

  std::set<std::pair<std::uint32_t, std::uint64_t>> dirty;
  bool running = false;
  int fail_reads_of = -1;
  int fail_clears_after = -1;
};

class DirtyTrackerTest : public testing::Test {
 protected:
  std::vector<std::uint64_t> harvest() {
    PageSet pages{kLayout.page_count()};
    const auto done = tracker_.harvest(pages);
    EXPECT_TRUE(done.has_value()) << done.error().text();
    std::vector<std::uint64_t> result;
    pages.for_each([&](PageIndex page) { result.push_back(page.raw()); });
    return result;
  }
  std::string failing_harvest() {
    PageSet pages{kLayout.page_count()};
    const auto done = tracker_.harvest(pages);
    EXPECT_FALSE(done.has_value());
    EXPECT_TRUE(pages.empty()) << "a failed harvest hands out nothing";
    return done ? "" : done.error().text();
  }
  using Pages = std::vector<std::uint64_t>;

  FakeLog log_;
  AtomicPageSet host_writes_{kLayout.page_count()};
  DirtyTracker tracker_{log_, kLayout, host_writes_};
};

TEST_F(DirtyTrackerTest, StartsEmptyThoughTheLogStartsFull) {
  host_writes_.insert(PageIndex{5});
  ASSERT_TRUE(tracker_.start().has_value());
  EXPECT_TRUE(log_.dirty.empty());
  EXPECT_EQ(harvest(), Pages{});
}

TEST_F(DirtyTrackerTest, JoinsBothSourcesOverAllRegions) {
  ASSERT_TRUE(tracker_.start().has_value());
  log_.dirty = {{0, 0}, {0, 127}, {1, 0}, {1, 99}};
  host_writes_.insert(PageIndex{0});
  host_writes_.insert(PageIndex{64});
  host_writes_.insert(PageIndex{227});
  EXPECT_EQ(harvest(), (Pages{0, 64, 127, 128, 227}));
  EXPECT_TRUE(log_.dirty.empty()) << "protected again";
  EXPECT_EQ(harvest(), Pages{});
}

TEST_F(DirtyTrackerTest, AddsToWhatTheCallerHas) {
  ASSERT_TRUE(tracker_.start().has_value());
  PageSet pages{kLayout.page_count()};
  pages.insert(PageIndex{1});
  log_.dirty = {{0, 2}};
  ASSERT_TRUE(tracker_.harvest(pages).has_value());
  EXPECT_TRUE(pages.contains(PageIndex{1}));
  EXPECT_TRUE(pages.contains(PageIndex{2}));
}

TEST_F(DirtyTrackerTest, GivenBackPagesAreReportedOnce) {
  ASSERT_TRUE(tracker_.start().has_value());
  PageSet aborted{kLayout.page_count()};
  aborted.insert(PageIndex{3});
  tracker_.merge_back(aborted);
  log_.dirty = {{0, 4}};
  EXPECT_EQ(harvest(), (Pages{3, 4}));
  EXPECT_EQ(harvest(), Pages{});
}

TEST_F(DirtyTrackerTest, AHotPageIsReportedByEveryHarvestAndNotProtected) {
  ASSERT_TRUE(tracker_.start().has_value());
  tracker_.set_hot(PageIndex{100}, true);
  tracker_.set_hot(PageIndex{130}, true);
  EXPECT_EQ(harvest(), Pages{}) << "not written yet";
  log_.dirty = {{0, 100}, {0, 101}, {1, 2}, {1, 3}};
  EXPECT_EQ(harvest(), (Pages{100, 101, 130, 131}));
  EXPECT_EQ(log_.dirty, (std::set<std::pair<std::uint32_t, std::uint64_t>>{{0, 100}, {1, 2}}));
  EXPECT_EQ(harvest(), (Pages{100, 130}));
  tracker_.set_hot(PageIndex{100}, false);
  EXPECT_EQ(harvest(), (Pages{100, 130})) << "once more, and protected";
  EXPECT_EQ(harvest(), Pages{130});
}

TEST_F(DirtyTrackerTest, NothingIsHotAfterAStop) {
  ASSERT_TRUE(tracker_.start().has_value());
  tracker_.set_hot(PageIndex{100}, true);
  ASSERT_TRUE(tracker_.stop().has_value());
  ASSERT_TRUE(tracker_.start().has_value());
  log_.dirty = {{0, 100}};
  EXPECT_EQ(harvest(), Pages{100});
  EXPECT_EQ(harvest(), Pages{});
}

TEST_F(DirtyTrackerTest, AFailedReadLosesNothing) {
  ASSERT_TRUE(tracker_.start().has_value());
  log_.dirty = {{0, 7}, {1, 8}};
  host_writes_.insert(PageIndex{9});
  log_.fail_reads_of = 1;  // slot 0 is taken and cleared by then
  EXPECT_NE(failing_harvest().find("slot 1"), std::string::npos);
  log_.fail_reads_of = -1;
  EXPECT_EQ(harvest(), (Pages{7, 9, 136}));
}

TEST_F(DirtyTrackerTest, AClearThatFailsHalfWayLosesNothing) {
  for (int after = 0; after < 4; ++after) {
    log_.fail_clears_after = -1;
    ASSERT_TRUE(tracker_.start().has_value());
    log_.dirty = {{0, 1}, {0, 100}, {1, 0}, {1, 99}};
    log_.fail_clears_after = after;
    failing_harvest();
    log_.fail_clears_after = -1;
    log_.dirty.insert({0, 50});
    EXPECT_EQ(harvest(), (Pages{1, 50, 100, 128, 227})) << after;
    ASSERT_TRUE(tracker_.stop().has_value());
  }
}

TEST_F(DirtyTrackerTest, HarvestNeedsAStart) {
  PageSet pages{kLayout.page_count()};
  EXPECT_EQ(tracker_.harvest(pages).error().code(), ErrorCode::kRefused);
  ASSERT_TRUE(tracker_.start().has_value());
  ASSERT_TRUE(tracker_.stop().has_value());
  EXPECT_FALSE(log_.running);
  EXPECT_FALSE(tracker_.harvest(pages).has_value());
}

TEST_F(DirtyTrackerTest, AFailedStartMayBeRepeated) {
  log_.fail_clears_after = 10;
  EXPECT_FALSE(tracker_.start().has_value());
  EXPECT_FALSE(tracker_.started());
  log_.fail_clears_after = -1;
  ASSERT_TRUE(tracker_.start().has_value());
  EXPECT_EQ(harvest(), Pages{});
}

}  // namespace
}  // namespace understudy
