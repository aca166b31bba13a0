#include <limits>

#include <gtest/gtest.h>

#include "tests/unit/vmm/virtio_driver.h"
#include "vmm/devices/virtio/virtqueue.h"

namespace understudy {
namespace {

class VirtqueueTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kRing = 0x10000;
  static constexpr std::uint64_t kData = 0x40000;
  static constexpr std::uint64_t kTable = 0x80000;
  static constexpr std::uint16_t kSize = 8;

  VirtqueueTest() { EXPECT_TRUE(ring_.activate(state(), true, true)); }
  QueueState state() const {
    return {.size = kSize,
            .ready = true,
            .descriptors = driver_.descriptors(),
            .driver_area = driver_.available(),
            .device_area = driver_.used()};
  }
  void restart(bool event_index, bool indirect) {
    driver_ = DriverRing{*memory_, kRing, kSize};
    ASSERT_TRUE(ring_.activate(state(), event_index, indirect));
  }
  std::uint16_t chain_of(const Descriptor& descriptor) {
    driver_.put_descriptor(driver_.descriptors(), 0, descriptor);
    driver_.offer(0);
    return 0;
  }
  PageSet written() {
    PageSet pages{memory_->page_count()};
    memory_->host_writes().drain(pages);
    return pages;
  }

  std::shared_ptr<GuestMemory> memory_ = *GuestMemory::create(GuestMemory::kMinBytes);
  DriverRing driver_{*memory_, kRing, kSize};
  Virtqueue ring_{*memory_};
  Chain chain_;
};

TEST_F(VirtqueueTest, PopsChainsInOrderWithTheirPieces) {
  EXPECT_EQ(ring_.pop(chain_), Pop::kEmpty);
  const auto first = driver_.add({{kData, 16}, {kData + 0x1000, 512}, {kData + 0x2000, 1, true}});
  const auto second = driver_.add({{kData + 0x3000, 64, true}});
  ASSERT_EQ(ring_.pop(chain_), Pop::kChain);
  EXPECT_EQ(chain_.head, first);
  ASSERT_EQ(chain_.readable().size(), 2u);
  ASSERT_EQ(chain_.writable().size(), 1u);
  EXPECT_EQ(chain_.readable()[1].address, GuestPhysicalAddress{kData + 0x1000});
  EXPECT_EQ(chain_.readable_bytes, 528u);
  EXPECT_EQ(chain_.writable_bytes, 1u);
  ASSERT_EQ(ring_.pop(chain_), Pop::kChain);
  EXPECT_EQ(chain_.head, second);
  EXPECT_EQ(ring_.pop(chain_), Pop::kEmpty);
  ring_.unpop(1);
  ASSERT_EQ(ring_.pop(chain_), Pop::kChain);
  EXPECT_EQ(chain_.head, second);
}

TEST_F(VirtqueueTest, ReadsIndirectTablesAlsoAfterNormalDescriptorsAndUnaligned) {
  driver_.add_indirect({{kData, 16}, {kData + 0x1000, 100, true}}, kTable + 3);
  ASSERT_EQ(ring_.pop(chain_), Pop::kChain);
  EXPECT_EQ(chain_.count, 2);
  EXPECT_EQ(chain_.writable_bytes, 100u);

  driver_.put_descriptor(kTable, 0, {kData + 0x1000, 5, kDescriptorWrite, 0});
  driver_.put_descriptor(driver_.descriptors(), 3, {kData, 16, kDescriptorNext, 4});
  driver_.put_descriptor(driver_.descriptors(), 4, {kTable, 16, kDescriptorIndirect, 0});
  driver_.offer(3);
  ASSERT_EQ(ring_.pop(chain_), Pop::kChain);
  EXPECT_EQ(chain_.head, 3);
  EXPECT_EQ(chain_.readable_bytes, 16u);
  EXPECT_EQ(chain_.writable_bytes, 5u);
}

TEST_F(VirtqueueTest, UsedEntriesAppearWithPublishAndAreMarked) {
  driver_.add({{kData, 4, true}});
  ASSERT_EQ(ring_.pop(chain_), Pop::kChain);
  written();
  ring_.push(chain_.head, 4);
  EXPECT_EQ(driver_.take_used(), std::nullopt);
  EXPECT_TRUE(ring_.publish());
  EXPECT_EQ(driver_.take_used(), (Used{0, 4}));
  EXPECT_TRUE(written().contains(PageIndex{driver_.used() >> kPageShift}));
  EXPECT_FALSE(ring_.publish()) << "nothing new";
}

TEST_F(VirtqueueTest, MarksEachPageOfAUsedRingThatItWrites) {
  // The index lies at the end of one page, the entries and the notification event in the next.
  const PageIndex first{(kTable >> kPageShift)};
  QueueState spread = state();
  spread.device_area = kTable + kPageSizeBytes - 4;
  ASSERT_TRUE(ring_.activate(spread, true, false));
  driver_.add({{kData, 4, true}});
  ASSERT_EQ(ring_.pop(chain_), Pop::kChain);
  written();
  ring_.push(chain_.head, 4);
  auto pages = written();
  EXPECT_TRUE(pages.contains(after(first)));
  EXPECT_FALSE(pages.contains(first));
  ring_.publish();
  EXPECT_TRUE(written().contains(first));
  ring_.enable_notifications();
  EXPECT_TRUE(written().contains(after(first)));
}

TEST_F(VirtqueueTest, WrapsRoundItsRingAndIndexes) {
  for (unsigned i = 0; i < 70'000; ++i) {
    driver_.add({{kData, 1, true}});
    ASSERT_EQ(ring_.pop(chain_), Pop::kChain);
    ASSERT_EQ(chain_.head, i % kSize);
    ring_.push(chain_.head, i % 7);
    ring_.publish();
    ASSERT_EQ(driver_.take_used(), (Used{i % kSize, i % 7}));
  }
}

TEST_F(VirtqueueTest, InterruptsOnlyWhenTheUsedEventIsPassed) {
  const auto use = [&](unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      driver_.add({{kData, 1, true}});
      EXPECT_EQ(ring_.pop(chain_), Pop::kChain);
      ring_.push(chain_.head, 1);
    }
    return ring_.publish();
  };
  driver_.set_used_event(2);
  EXPECT_FALSE(use(2));
  EXPECT_TRUE(use(1));
  EXPECT_FALSE(use(5)) << "the event lies behind";
  driver_.set_used_event(10);
  EXPECT_TRUE(use(8)) << "passed on the way";
}

TEST_F(VirtqueueTest, NotificationEventFollowsThePosition) {
  EXPECT_FALSE(ring_.enable_notifications());
  EXPECT_EQ(driver_.available_event(), 0);
  driver_.add({{kData, 1, true}});
  driver_.add({{kData, 1, true}});
  EXPECT_TRUE(ring_.enable_notifications()) << "there are some already";
  ASSERT_EQ(ring_.pop(chain_), Pop::kChain);
  EXPECT_FALSE(ring_.enable_notifications(1)) << "one is known of";
  EXPECT_EQ(driver_.available_event(), 2);
}

TEST_F(VirtqueueTest, WithoutEventIndexTheFlagsDecide) {
  restart(false, false);
  driver_.add({{kData, 1, true}});
  driver_.add({{kData, 1, true}});
  ring_.disable_notifications();
  EXPECT_EQ(driver_.used_flags(), 1);
  EXPECT_TRUE(ring_.enable_notifications());
  EXPECT_EQ(driver_.used_flags(), 0);
  driver_.set_available_flags(1);
  ASSERT_EQ(ring_.pop(chain_), Pop::kChain);
  ring_.push(chain_.head, 1);
  EXPECT_FALSE(ring_.publish());
  driver_.set_available_flags(0);
  ASSERT_EQ(ring_.pop(chain_), Pop::kChain);
  ring_.push(chain_.head, 1);
  EXPECT_TRUE(ring_.publish());
}

TEST_F(VirtqueueTest, RefusesEveryBrokenChain) {
  constexpr std::uint64_t kEnd = GuestMemory::kMinBytes;
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  const struct {
    const char* name;
    Descriptor descriptor;  // number 0, where the chain starts
  } cases[] = {
      {"outside memory", {kEnd, 1, 0, 0}},
      {"across the end of memory", {kEnd - 1, 2, 0, 0}},
      {"address overflow", {kMax, 16, 0, 0}},
      {"in the hole", {GuestMemory::kHoleStart, 16, 0, 0}},
      {"next outside the table", {kData, 1, kDescriptorNext, kSize}},
      {"loop on itself", {kData, 1, kDescriptorNext, 0}},
      {"indirect table of no length", {kTable, 0, kDescriptorIndirect, 0}},
      {"indirect table of odd length", {kTable, 17, kDescriptorIndirect, 0}},
      {"indirect table outside memory", {kEnd - 16, 32, kDescriptorIndirect, 0}},
      {"indirect with next", {kTable, 16, kDescriptorIndirect | kDescriptorNext, 1}},
      {"indirect table outside memory, whole", {kMax - 15, 16, kDescriptorIndirect, 0}},
  };
  for (const auto& each : cases) {
    restart(true, true);
    chain_of(each.descriptor);
    EXPECT_EQ(ring_.pop(chain_), Pop::kBroken) << each.name;
    EXPECT_STRNE(ring_.error(), "") << each.name;
    EXPECT_EQ(ring_.next_available(), 0) << each.name;
  }
}

TEST_F(VirtqueueTest, RefusesOtherBreaches) {
  // Head outside the table.
  driver_.offer(kSize);
  EXPECT_EQ(ring_.pop(chain_), Pop::kBroken);
  // More available than the queue holds.
  restart(true, true);
  driver_.set_available_index(kSize + 1);
  EXPECT_EQ(ring_.pop(chain_), Pop::kBroken);
  // Readable after writable.
  restart(true, true);
  driver_.add({{kData, 1, true}, {kData, 1, false}});
  EXPECT_EQ(ring_.pop(chain_), Pop::kBroken);
  // Indirect without the feature.
  restart(true, false);
  driver_.add_indirect({{kData, 1}}, kTable);
  EXPECT_EQ(ring_.pop(chain_), Pop::kBroken);
  // Indirect in indirect.
  restart(true, true);
  driver_.put_descriptor(kTable, 0, {kTable, 16, kDescriptorIndirect, 0});
  chain_of({kTable, 16, kDescriptorIndirect, 0});
  EXPECT_EQ(ring_.pop(chain_), Pop::kBroken);
  // A loop within an indirect table.
  restart(true, true);
  driver_.put_descriptor(kTable, 0, {kData, 1, kDescriptorNext, 1});
  driver_.put_descriptor(kTable, 1, {kData, 1, kDescriptorNext, 0});
  chain_of({kTable, 32, kDescriptorIndirect, 0});
  EXPECT_EQ(ring_.pop(chain_), Pop::kBroken);
  // Next outside the indirect table, though inside the queue.
  restart(true, true);
  driver_.put_descriptor(kTable, 0, {kData, 1, kDescriptorNext, 1});
  chain_of({kTable, 16, kDescriptorIndirect, 0});
  EXPECT_EQ(ring_.pop(chain_), Pop::kBroken);
  // Used lengths are 32 bits wide: 1025 pieces of 4 MiB would not fit, were they not too many already.
  restart(true, true);
  std::vector<Buffer> large(257, Buffer{0, static_cast<std::uint32_t>(GuestMemory::kMinBytes), true});
  driver_.add_indirect(large, kTable);
  EXPECT_EQ(ring_.pop(chain_), Pop::kBroken);
}

TEST_F(VirtqueueTest, ChecksWhereItLies) {
  const auto with = [&](auto change) {
    QueueState changed = state();
    change(changed);
    return Virtqueue::check(*memory_, changed).has_value();
  };
  EXPECT_TRUE(with([](QueueState&) {}));
  for (const std::uint16_t size : std::vector<std::uint16_t>{0, 3, 512, 65535})
    EXPECT_FALSE(with([&](QueueState& s) { s.size = size; })) << size;
  EXPECT_FALSE(with([](QueueState& s) { s.descriptors += 8; }));
  EXPECT_FALSE(with([](QueueState& s) { s.driver_area += 1; }));
  EXPECT_FALSE(with([](QueueState& s) { s.device_area += 2; }));
  EXPECT_FALSE(with([](QueueState& s) { s.descriptors = GuestMemory::kMinBytes - 16; }));
  EXPECT_FALSE(with([](QueueState& s) { s.device_area = GuestMemory::kHoleStart; }));
  EXPECT_FALSE(with([](QueueState& s) { s.driver_area = std::numeric_limits<std::uint64_t>::max() - 1; }));
}

}  // namespace
}  // namespace understudy
