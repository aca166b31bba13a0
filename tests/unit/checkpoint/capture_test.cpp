// The rules that a checkpoint lives by, on the capturing side.
#include "checkpoint/capture.h"

#include <cstring>
#include <optional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/page_batch.h"
#include "tests/support/fake_machine.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

// A machine that keeps the order of the calls, and moves the clock by a known time in each.
class RecordingMachine final : public CheckpointSource {
 public:
  RecordingMachine(fake::FakeMachine& inner, ManualClock& clock) : inner_{inner}, clock_{clock} {}
  MachineFingerprint fingerprint() const override { return inner_.fingerprint(); }
  std::size_t page_count() const override { return inner_.page_count(); }
  std::span<const std::byte, kPageSizeBytes> page(PageIndex page) const override {
    if (calls.empty() || calls.back() != "copy") calls.emplace_back("copy");
    clock_.advance(1us);
    return inner_.page(page);
  }
  std::size_t absent_run(PageIndex page, std::size_t limit) const override { return inner_.absent_run(page, limit); }
  Result<void> start_tracking() override { return inner_.start_tracking(); }
  Result<void> stop_tracking() override { return inner_.stop_tracking(); }
  Result<void> pause(Duration deadline) override { return step("pause", 10us), inner_.pause(deadline); }
  Result<std::span<const std::byte>> save() override { return step("save", 20us), inner_.save(); }
  Result<void> harvest(PageSet& into) override { return step("harvest", 30us), inner_.harvest(into); }
  void set_hot(PageIndex page, bool hot) override { inner_.set_hot(page, hot); }
  Duration protection_fault() const override { return inner_.protection_fault(); }
  void merge_back(const PageSet& pages) override {
    step("merge back", 0us);
    inner_.merge_back(pages);
  }
  Result<void> resume() override { return step("resume", 40us), inner_.resume(); }
  bool paused() const override { return inner_.paused(); }
  std::optional<std::string> ended() const override { return std::nullopt; }

  mutable std::vector<std::string> calls;

 private:
  void step(const char* name, Duration takes) {
    calls.emplace_back(name);
    clock_.advance(takes);
  }
  fake::FakeMachine& inner_;
  ManualClock& clock_;
};

class CaptureTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kPages = 64;
  CaptureTest() : machine{kPages}, pool{*StagingPool::create(2, 8)} { EXPECT_TRUE(machine.start_tracking()); }

  void dirty(std::initializer_list<std::size_t> pages, std::uint64_t value = 1) {
    for (const std::size_t page : pages) machine.guest_write_u64(page * kPageSizeBytes, value);
  }
  void begin(EpochCapture& capture) {
    ASSERT_TRUE(capture.pause(1ms));
    ASSERT_TRUE(capture.save());
    ASSERT_TRUE(capture.harvest());
  }
  static std::uint64_t value_in(const StagedPages& staged, std::size_t index) {
    std::uint64_t value = 0;
    std::memcpy(&value, staged.buffer.bytes().data() + index * kPageSizeBytes, sizeof value);
    return value;
  }

  ManualClock clock;
  fake::FakeMachine machine;
  std::unique_ptr<StagingPool> pool;
};

TEST_F(CaptureTest, StepsInOrderAndTimed) {
  RecordingMachine recorder{machine, clock};
  dirty({1, 5});
  EpochCapture capture{recorder, clock};
  begin(capture);
  ASSERT_TRUE(capture.copy(*pool));
  ASSERT_TRUE(capture.resume());
  EXPECT_THAT(recorder.calls, ::testing::ElementsAre("pause", "save", "harvest", "copy", "resume"));
  const EpochTimings& timings = capture.timings();
  EXPECT_EQ(timings.pause, 10us);
  EXPECT_EQ(timings.save, 20us);
  EXPECT_EQ(timings.harvest, 30us);
  EXPECT_EQ(timings.copy, 2us);
  EXPECT_EQ(timings.resume, 40us);
  EXPECT_EQ(timings.stood_still, 102us);
  capture.take_staged();
  capture.finish().commit();
}

TEST_F(CaptureTest, WhatKvmWritesWhileSavingIsPartOfTheEpoch) {
  machine.set_page_written_by_save(9);
  EpochCapture capture{machine, clock};
  begin(capture);
  ASSERT_TRUE(capture.copy(*pool));
  const auto staged = capture.take_staged();
  ASSERT_EQ(staged.size(), 1U);
  EXPECT_THAT(staged[0].pages, ::testing::ElementsAre(9));
  ASSERT_TRUE(capture.resume());
  capture.finish().commit();
}

TEST_F(CaptureTest, AWriteAfterTheCopyIsInTheNextEpochAndNotInThisOne) {
  dirty({3}, 100);
  EpochCapture capture{machine, clock};
  begin(capture);
  ASSERT_TRUE(capture.copy(*pool));
  ASSERT_TRUE(capture.resume());
  dirty({3}, 200);
  const auto staged = capture.take_staged();
  EXPECT_EQ(value_in(staged[0], 0), 100U);
  capture.finish().commit();
  EXPECT_EQ(machine.tracked_dirty(), 1U);
}

TEST_F(CaptureTest, EncodingReadsTheStagingCopyAlone) {
  dirty({3}, 100);
  EpochCapture capture{machine, clock};
  begin(capture);
  ASSERT_TRUE(capture.copy(*pool));
  ASSERT_TRUE(capture.resume());
  dirty({3}, 200);  // the guest runs on while the epoch is encoded
  auto staged = capture.take_staged();
  const auto parts = encode_pages(std::move(staged[0]), 8, 0);
  ASSERT_EQ(parts.size(), 1U);
  std::uint64_t value = 0;
  std::memcpy(&value, parts[0].bulk[0].bytes.data(), sizeof value);
  EXPECT_EQ(value, 100U);
  capture.finish().commit();
}

TEST_F(CaptureTest, AnAbortedEpochLosesNothing) {
  dirty({1, 2, 3});
  {
    EpochCapture capture{machine, clock};
    begin(capture);
    EXPECT_EQ(machine.tracked_dirty(), 0U);
  }
  EXPECT_TRUE(machine.running());
  EXPECT_EQ(machine.tracked_dirty(), 3U);
}

TEST_F(CaptureTest, AnEpochThatIsNeverAckedLosesNothing) {
  dirty({1, 2, 3});
  {
    EpochCapture capture{machine, clock};
    begin(capture);
    ASSERT_TRUE(capture.copy(*pool));
    ASSERT_TRUE(capture.resume());
    capture.take_staged();
    const DirtyHarvest in_flight = capture.finish();
    dirty({3, 4});
    EXPECT_EQ(machine.tracked_dirty(), 2U);
  }
  EXPECT_EQ(machine.tracked_dirty(), 4U);
}

TEST_F(CaptureTest, ACommittedHarvestIsGone) {
  dirty({1});
  DirtyHarvest harvest{machine};
  ASSERT_TRUE(harvest.collect());
  DirtyHarvest moved{std::move(harvest)};
  moved.commit();
  moved.abandon();
  EXPECT_EQ(machine.tracked_dirty(), 0U);
  DirtyHarvest other{machine};
  dirty({2});
  ASSERT_TRUE(other.collect());
  other = DirtyHarvest{machine};  // replaced before its commit: given back
  EXPECT_EQ(machine.tracked_dirty(), 1U);
}

TEST_F(CaptureTest, MorePagesThanStagingAreCopiedInChunksWhileTheGuestStands) {
  for (std::size_t page = 0; page < 40; ++page) dirty({page}, page + 1);
  EpochCapture capture{machine, clock};
  begin(capture);
  std::vector<std::uint64_t> seen;
  int chunks = 0;
  while (!capture.copy(*pool)) {
    EXPECT_TRUE(machine.paused());
    EXPECT_EQ(pool->free_buffers(), 0U);
    for (const StagedPages& staged : capture.take_staged())
      for (std::size_t i = 0; i < staged.pages.size(); ++i) seen.push_back(value_in(staged, i));
    ASSERT_LT(++chunks, 10);
  }
  for (const StagedPages& staged : capture.take_staged())
    for (std::size_t i = 0; i < staged.pages.size(); ++i) seen.push_back(value_in(staged, i));
  ASSERT_TRUE(capture.resume());
  EXPECT_EQ(chunks, 2);
  ASSERT_EQ(seen.size(), 40U);
  for (std::size_t page = 0; page < 40; ++page) EXPECT_EQ(seen[page], page + 1);
  capture.finish().commit();
}

TEST_F(CaptureTest, WhatTheGuestGaveBackIsNeitherReadNorCopied) {
  dirty({1, 5, 20, 21, 22, 30});
  for (const std::size_t page : {20UL, 21UL, 22UL, 23UL}) machine.give_back(PageIndex{page});
  dirty({22}, 7);  // and taken again
  EpochCapture capture{machine, clock};
  begin(capture);
  ASSERT_TRUE(capture.copy(*pool));
  const auto staged = capture.take_staged();
  ASSERT_EQ(staged.size(), 1U);
  EXPECT_THAT(staged[0].pages, ::testing::ElementsAre(1, 5, 22, 30));
  EXPECT_THAT(staged[0].zero_pages, ::testing::ElementsAre(20, 21, 23));
  EXPECT_EQ(value_in(staged[0], 2), 7U);
  for (const std::size_t page : {20UL, 21UL, 23UL}) EXPECT_FALSE(machine.holds(PageIndex{page})) << page;
  ASSERT_TRUE(capture.resume());
  capture.finish().commit();
}

TEST_F(CaptureTest, FailedStepsNameThemselvesAndLeaveTheGuestRunning) {
  const auto run = [&]() -> Result<void> {
    EpochCapture capture{machine, clock};
    US_TRY(capture.pause(1ms));
    US_TRY(capture.save());
    US_TRY(capture.harvest());
    EXPECT_TRUE(capture.copy(*pool));
    US_TRY(capture.resume());
    capture.take_staged();
    capture.finish().commit();
    return {};
  };
  dirty({7});
  machine.fail_next_pause(Error{ErrorCode::kTimeout, "vCPU 1 did not stop within 1 ms"});
  auto failed = run();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().text(), "pause the guest: vCPU 1 did not stop within 1 ms");
  EXPECT_EQ(failed.error().code(), ErrorCode::kTimeout);
  machine.fail_next_save(Error{ErrorCode::kFailed, "KVM_GET_LAPIC"});
  failed = run();
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().text(), HasSubstr("save the machine's state: KVM_GET_LAPIC"));
  machine.fail_next_harvest(Error{ErrorCode::kFailed, "KVM_GET_DIRTY_LOG"});
  failed = run();
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().text(), HasSubstr("harvest dirty pages: KVM_GET_DIRTY_LOG"));
  machine.fail_next_resume(Error{ErrorCode::kFailed, "vCPU 0"});
  failed = run();
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().text(), HasSubstr("resume the guest: vCPU 0"));
  EXPECT_TRUE(machine.running());
  EXPECT_EQ(machine.tracked_dirty(), 1U);  // page 7, after all of that
  EXPECT_TRUE(run());
  EXPECT_EQ(machine.tracked_dirty(), 0U);
}

TEST_F(CaptureTest, TheLastEpochLeavesTheGuestStanding) {
  EpochCapture capture{machine, clock};
  begin(capture);
  ASSERT_TRUE(capture.copy(*pool));
  ASSERT_TRUE(capture.resume(true));
  capture.finish().commit();
  EXPECT_TRUE(machine.paused());
}

TEST(StagingTest, LeasesComeBackAndMayOutliveThePool) {
  auto pool = *StagingPool::create(2, 4);
  EXPECT_EQ(pool->pages_each(), 4U);
  std::optional<StagingLease> one = pool->try_acquire();
  const StagingLease two = pool->try_acquire();
  ASSERT_TRUE(*one && two);
  EXPECT_EQ(one->capacity_pages(), 4U);
  EXPECT_NE(one->bytes().data(), two.bytes().data());
  EXPECT_FALSE(pool->try_acquire());
  std::shared_ptr<const void> frame = one->owner();
  one.reset();
  EXPECT_EQ(pool->free_buffers(), 0U);  // a frame is at the transport
  frame.reset();
  EXPECT_EQ(pool->free_buffers(), 1U);
  pool.reset();
  two.bytes()[0] = std::byte{1};
}

TEST(StagingTest, RefusesNonsense) {
  EXPECT_FALSE(StagingPool::create(0, 1));
  EXPECT_FALSE(StagingPool::create(1, 0));
  EXPECT_FALSE(StagingPool::create(std::size_t{1} << 40, std::size_t{1} << 40));
}

}  // namespace
}  // namespace understudy
