// Which pages stay writable, by what the two choices cost; and what of a copy may be built upon.
#include "checkpoint/hot_pages.h"

#include <cstring>

#include <gtest/gtest.h>

#include "checkpoint/page_batch.h"
#include "tests/support/fake_machine.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

class HotPagesTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kPages = 256;

  // One epoch of the guest: writes `pages`, and everything that a harvest then reports is looked at. Returns what was reported.
  std::vector<std::uint32_t> epoch(HotPages& hot, std::vector<std::uint32_t> pages) {
    ++number_;
    for (const std::uint32_t page : pages) machine_.guest_write_u64(page * kPageSizeBytes, number_);
    PageSet reported{kPages};
    EXPECT_TRUE(machine_.harvest(reported));
    hot.begin_epoch(Epoch{number_}, Epoch{acked_});
    if (acks_follow_) acked_ = number_;
    std::vector<std::uint32_t> list;
    reported.for_each([&](PageIndex index) {
      const auto page = static_cast<std::uint32_t>(index.raw());
      list.push_back(page);
      const auto content = std::as_const(machine_).page(index);
      const std::byte* const base = hot.base(page);
      if (base != nullptr && std::memcmp(base, content.data(), kPageSizeBytes) == 0)
        hot.unchanged(page);
      else
        hot.changed(page, content);
    });
    return list;
  }
  using List = std::vector<std::uint32_t>;

  HotPagesTest() { EXPECT_TRUE(machine_.start_tracking()); }

  fake::FakeMachine machine_{kPages};
  std::uint64_t number_ = 0;
  std::uint64_t acked_ = 0;
  bool acks_follow_ = true;
};

TEST_F(HotPagesTest, APageWrittenInEveryEpochIsProtectedNoMore) {
  HotPages hot{machine_, 16};
  for (int i = 0; i < 4; ++i) epoch(hot, {7, 9});
  EXPECT_EQ(hot.hot_count(), 2U);
  EXPECT_EQ(machine_.hot_pages(), 2U);
  EXPECT_EQ(epoch(hot, {}), (List{7, 9})) << "reported, written or not";
}

TEST_F(HotPagesTest, APageWrittenOnceIsNotHot) {
  HotPages hot{machine_, 16};
  for (std::uint32_t page = 0; page < 100; ++page) EXPECT_EQ(epoch(hot, {page}), (List{page}));
  EXPECT_EQ(hot.hot_count(), 0U);
}

TEST_F(HotPagesTest, APageThatGoesColdIsReportedOnceMoreAndProtected) {
  HotPages hot{machine_, 16};
  for (int i = 0; i < 4; ++i) epoch(hot, {7});
  int looks = 0;
  while (hot.hot_count() > 0 && looks < 100) {
    EXPECT_EQ(epoch(hot, {}), (List{7}));
    ++looks;
  }
  EXPECT_EQ(looks, static_cast<int>(hot.patience()));
  EXPECT_EQ(epoch(hot, {}), (List{7}));
  EXPECT_EQ(epoch(hot, {}), List{});
  EXPECT_EQ(hot.hot_count(), 0U);
}

// Where a fault is cheap and a look is dear, a page that is written now and then is better protected.
TEST_F(HotPagesTest, TheMeasuredCostsDecide) {
  HotPages hot{machine_, 16};
  for (int i = 0; i < 200; ++i) hot.measured(2us);
  EXPECT_EQ(hot.patience(), 10U) << "a fault of 20 us against looks of 2";
  const auto every_sixth = [&] {
    for (int i = 0; i < 5; ++i) {
      epoch(hot, {7});
      for (int idle = 0; idle < 5; ++idle) epoch(hot, {});
    }
    return hot.hot_count();
  };
  EXPECT_EQ(every_sixth(), 1U);
  for (int i = 0; i < 400; ++i) hot.measured(15us);
  EXPECT_EQ(hot.patience(), 1U);
  EXPECT_EQ(every_sixth(), 0U);
  epoch(hot, {7});
  epoch(hot, {7});
  EXPECT_EQ(hot.hot_count(), 1U) << "in every epoch it pays all the same";
  epoch(hot, {7});
  epoch(hot, {});
  EXPECT_EQ(hot.hot_count(), 0U);
}

TEST_F(HotPagesTest, OneSlowLookIsNoMeasure) {
  HotPages hot{machine_, 16};
  for (int i = 0; i < 200; ++i) hot.measured(1us);
  const std::uint32_t before = hot.patience();
  hot.measured(20ms);
  EXPECT_GE(hot.patience() + 1, before);
}

TEST_F(HotPagesTest, CopiesAreBounded) {
  HotPages hot{machine_, 3};
  for (int i = 0; i < 5; ++i) epoch(hot, {1, 2, 3, 4, 5});
  EXPECT_EQ(hot.hot_count(), 3U);
  EXPECT_EQ(machine_.hot_pages(), 3U);
  HotPages none{machine_, 0};
  for (int i = 0; i < 5; ++i) epoch(none, {1, 2});
  EXPECT_EQ(none.hot_count(), 0U);
}

TEST_F(HotPagesTest, APageThatIsHotAndNeverReportedGivesItsCopyBack) {
  HotPages hot{machine_, 4};
  for (int i = 0; i < 2; ++i) epoch(hot, {7});  // hot from here on, and protected by the last harvest
  ASSERT_EQ(hot.hot_count(), 1U);
  for (int i = 0; i < 40; ++i) epoch(hot, {});
  EXPECT_EQ(hot.hot_count(), 0U);
  EXPECT_EQ(machine_.hot_pages(), 0U);
}

// A rule that a checkpoint lives by: a base exists only once its epoch is acked.
TEST_F(HotPagesTest, AnEpochThatIsNotAckedIsNoBase) {
  HotPages hot{machine_, 4};
  acks_follow_ = false;
  for (int i = 0; i < 4; ++i) epoch(hot, {7});  // epochs 1 to 4
  hot.begin_epoch(Epoch{5}, Epoch{3});
  EXPECT_EQ(hot.base(7), nullptr);
  hot.begin_epoch(Epoch{6}, Epoch{4});
  ASSERT_NE(hot.base(7), nullptr);
  EXPECT_EQ(std::memcmp(hot.base(7), std::as_const(machine_).page(PageIndex{7}).data(), kPageSizeBytes), 0);
}

TEST_F(HotPagesTest, CopiesDoNotOutliveTheirSession) {
  HotPages hot{machine_, 4};
  for (int i = 0; i < 4; ++i) epoch(hot, {7});
  hot.forget_copies();
  hot.begin_epoch(Epoch{50}, Epoch{50});
  EXPECT_EQ(hot.base(7), nullptr);
  EXPECT_EQ(hot.hot_count(), 1U);
}

TEST_F(HotPagesTest, AHotPageGivenBackIsNoBase) {
  HotPages hot{machine_, 4};
  for (int i = 0; i < 4; ++i) epoch(hot, {7});
  hot.begin_epoch(Epoch{5}, Epoch{4});
  hot.forget(7);
  EXPECT_EQ(hot.base(7), nullptr);
  EXPECT_EQ(machine_.hot_pages(), 0U);
}

TEST_F(HotPagesTest, NoPageIsHotAfterIt) {
  {
    HotPages hot{machine_, 16};
    for (int i = 0; i < 4; ++i) epoch(hot, {7, 9});
    EXPECT_EQ(machine_.hot_pages(), 2U);
    hot.reset();
    EXPECT_EQ(machine_.hot_pages(), 0U);
    EXPECT_EQ(hot.hot_count(), 0U);
    for (int i = 0; i < 4; ++i) epoch(hot, {7, 9});
    EXPECT_EQ(machine_.hot_pages(), 2U);
  }
  EXPECT_EQ(machine_.hot_pages(), 0U);
}

TEST_F(HotPagesTest, AnUnchangedPageDoesNotTravel) {
  HotPages hot{machine_, 16};
  auto pool = *StagingPool::create(1, 8);
  const auto encode = [&](std::uint64_t number, std::uint64_t acked, std::uint64_t value) {
    StagedPages staged{pool->try_acquire(), {3, 4}};
    std::ranges::fill(staged.buffer.bytes(), std::byte{1});
    std::memcpy(staged.buffer.bytes().data(), &value, sizeof value);  // page 3 alone changes
    hot.begin_epoch(Epoch{number}, Epoch{acked});
    std::vector<std::uint32_t> sent;
    for (const EncodedPart& part : encode_pages(std::move(staged), 8, 0, &hot)) {
      const auto batch = decode_pages(part.payload, part.bulk, kPages);
      EXPECT_TRUE(batch) << batch.error().text();
      sent.insert(sent.end(), batch->pages.begin(), batch->pages.end());
    }
    return sent;
  };
  EXPECT_EQ(encode(1, 0, 1), (List{3, 4}));
  EXPECT_EQ(encode(2, 1, 2), (List{3, 4}));  // hot from here on
  EXPECT_EQ(encode(3, 1, 3), (List{3, 4})) << "epoch 2 is not acked";
  EXPECT_EQ(encode(4, 3, 4), (List{3}));
  EXPECT_EQ(encode(5, 4, 4), List{});
  EXPECT_EQ(encode(6, 5, 5), (List{3}));
}

}  // namespace
}  // namespace understudy
