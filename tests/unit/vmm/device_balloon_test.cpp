#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/virtio_balloon.h>
#include <sys/stat.h>

#include "tests/unit/vmm/device_rig.h"
#include "tests/unit/vmm/virtio_driver.h"
#include "vmm/devices/balloon/balloon.h"

namespace understudy {
namespace {

constexpr std::uint64_t kBalloonFeatures =
    VirtioDriver::kUsual | std::uint64_t{1} << VIRTIO_BALLOON_F_REPORTING | std::uint64_t{1} << VIRTIO_BALLOON_F_DEFLATE_ON_OOM;
constexpr std::uint64_t kRings = 0x10000;  // pages 0x10 to 0x1B
constexpr std::uint64_t kNumbers = 0x30000;
constexpr std::uint64_t kTable = 0x38000;
constexpr std::uint32_t kFirstPage = 0x100;  // from here on the guest's pages are filled
constexpr std::uint32_t kMemoryPages = kRigMemoryBytes / kPageSizeBytes;

class BalloonTest : public ::testing::Test {
 protected:
  static constexpr std::uint16_t kSize = 16;

  BalloonTest() {
    auto made = Balloon::create({"balloon0", GuestPhysicalAddress{0xD000'0000}, rig_.memory, &rig_.loop()}, 0);
    EXPECT_TRUE(made);
    balloon_ = std::move(*made);
    driver_.emplace(*balloon_);
    std::ranges::fill(rig_.memory->file().subspan(kFirstPage * kPageSizeBytes), std::byte{9});
    rig_.on_loop([&] { balloon_->resume(); });
  }
  ~BalloonTest() override {
    rig_.on_loop([&] { balloon_->detach(); });
  }
  void start() {
    ASSERT_TRUE(driver_->negotiate(kBalloonFeatures));
    for (unsigned i = 0; i < 3; ++i) driver_->set_queue(i, rings_[i]);
    driver_->driver_ok();
    rig_.settle();
    rig_.written();
  }
  void kick(unsigned queue) {
    driver_->notify(queue);
    rig_.settle();
  }
  // The numbers as one array in guest memory; returns its buffer.
  Buffer numbers(const std::vector<std::uint32_t>& pages, std::uint64_t at = kNumbers) {
    EXPECT_TRUE(rig_.memory->write(GuestPhysicalAddress{at}, std::as_bytes(std::span{pages})));
    rig_.written();
    return {at, static_cast<std::uint32_t>(pages.size() * sizeof(std::uint32_t))};
  }
  bool is_zero(std::uint64_t page) const {
    const auto bytes = rig_.memory->file().subspan(page * kPageSizeBytes, kPageSizeBytes);
    return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
  }
  // Of the filled pages, those that are zeros now; each must be marked, and no other.
  std::vector<std::uint64_t> given_back() {
    const PageSet marked = rig_.written();
    std::vector<std::uint64_t> pages;
    for (std::uint64_t page = kFirstPage; page < kMemoryPages; ++page) {
      EXPECT_EQ(marked.contains(PageIndex{page}), is_zero(page)) << page;
      if (is_zero(page)) pages.push_back(page);
    }
    return pages;
  }
  std::uint64_t held_pages() const {
    struct stat status {};
    EXPECT_EQ(::fstat(rig_.memory->fd(), &status), 0);
    return static_cast<std::uint64_t>(status.st_blocks) * 512 / kPageSizeBytes;
  }
  std::vector<Used> wait_used(unsigned queue) {
    const auto until = std::chrono::steady_clock::now() + kHangBound;
    std::vector<Used> used;
    while (used.empty() && std::chrono::steady_clock::now() < until) {
      rig_.settle();
      used = rings_[queue].take_all_used();
    }
    return used;
  }

  DeviceRig rig_;
  std::unique_ptr<Balloon> balloon_;
  std::optional<VirtioDriver> driver_;
  std::vector<DriverRing> rings_{{*rig_.memory, kRings, kSize},
                                 {*rig_.memory, kRings + DriverRing::kBytes, kSize},
                                 {*rig_.memory, kRings + 2 * DriverRing::kBytes, kSize}};
};

TEST_F(BalloonTest, TellsItsIdentity) {
  EXPECT_EQ(driver_->read(VIRTIO_MMIO_DEVICE_ID), 5u);
  EXPECT_EQ(driver_->offered(), kBalloonFeatures);
  EXPECT_EQ(balloon_->queue_count(), 3u);
}

TEST_F(BalloonTest, ATargetReachesTheDriverByItsConfiguration) {
  start();
  EXPECT_EQ(driver_->read(VirtioMmio::kConfigOffset), 0u);
  const auto generation = driver_->read(VIRTIO_MMIO_CONFIG_GENERATION);
  drain_fd(balloon_->interrupt().fd());
  ASSERT_TRUE(balloon_->set_target(300));
  EXPECT_EQ(driver_->read(VirtioMmio::kConfigOffset), 300u);
  EXPECT_NE(driver_->read(VIRTIO_MMIO_CONFIG_GENERATION), generation);
  EXPECT_EQ(driver_->take_interrupt_status(), static_cast<std::uint32_t>(VIRTIO_MMIO_INT_CONFIG));
  EXPECT_GT(drain_fd(balloon_->interrupt().fd()), 0u);
}

TEST_F(BalloonTest, ADriverThatDoesNotRunIsNotInterrupted) {
  ASSERT_TRUE(balloon_->set_target(300));
  EXPECT_EQ(drain_fd(balloon_->interrupt().fd()), 0u);
  EXPECT_EQ(driver_->read(VIRTIO_MMIO_INTERRUPT_STATUS), 0u);
  start();
  EXPECT_EQ(driver_->read(VirtioMmio::kConfigOffset), 300u) << "it reads the target when it starts";
}

TEST_F(BalloonTest, SomeMemoryIsLeftToTheGuest) {
  const auto refused = balloon_->set_target(kMemoryPages);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().text(), ::testing::HasSubstr(std::to_string(kMemoryPages)));
  EXPECT_FALSE(balloon_->set_target(std::uint64_t{1} << 32));
  EXPECT_EQ(balloon_->target_pages(), 0u);
  EXPECT_TRUE(balloon_->set_target(kMemoryPages - 1));
}

TEST_F(BalloonTest, TheDriverWritesActualAndNothingElse) {
  start();
  driver_->write(VirtioMmio::kConfigOffset + 4, 77);
  EXPECT_EQ(balloon_->actual_pages(), 77u);
  driver_->write(VirtioMmio::kConfigOffset, 99);
  driver_->write(VirtioMmio::kConfigOffset + 8, 99);
  const std::byte byte{1};
  balloon_->write(VirtioMmio::kConfigOffset + 4, {&byte, 1});
  EXPECT_EQ(balloon_->target_pages(), 0u);
  EXPECT_EQ(balloon_->actual_pages(), 77u);
  driver_->write(VIRTIO_MMIO_STATUS, 0);
  EXPECT_EQ(balloon_->actual_pages(), 0u) << "a driver that starts anew holds nothing";
}

TEST_F(BalloonTest, InflatedPagesAreTrackedZerosAndTheHostsAgain) {
  start();
  const auto before = held_pages();
  rings_[0].add({numbers({kFirstPage + 9, kFirstPage + 3, kFirstPage + 4, kFirstPage + 3})});
  kick(0);
  EXPECT_EQ(rings_[0].take_all_used(), (std::vector<Used>{{0, 0}}));
  EXPECT_LE(held_pages(), before - 3 + 1) << "the used ring may have taken one";
  EXPECT_THAT(given_back(), ::testing::ElementsAre(kFirstPage + 3, kFirstPage + 4, kFirstPage + 9));
  EXPECT_EQ(balloon_->refused_pages(), 0u);
}

TEST_F(BalloonTest, PagesThatTheGuestDoesNotHaveAreRefusedAndTheOthersTaken) {
  start();
  rings_[0].add({numbers({kMemoryPages - 1, kMemoryPages, kMemoryPages + 1, 0xFFFF'FFFF, kFirstPage})});
  kick(0);
  EXPECT_EQ(rings_[0].take_all_used().size(), 1u);
  EXPECT_THAT(given_back(), ::testing::ElementsAre(kFirstPage, kMemoryPages - 1));
  EXPECT_EQ(balloon_->refused_pages(), 3u);
}

TEST_F(BalloonTest, NumbersMayBeCutAnywhere) {
  start();
  std::vector<std::uint32_t> pages;
  for (std::uint32_t i = 0; i < 300; ++i) pages.push_back(kFirstPage + 2 * i);
  const Buffer whole = numbers(pages);
  rings_[0].add_indirect(
      {{whole.address, 7}, {whole.address + 7, 0}, {whole.address + 7, 600}, {whole.address + 607, whole.length - 607 + 3}}, kTable);
  kick(0);
  EXPECT_EQ(wait_used(0).size(), 1u);
  const auto found = given_back();
  ASSERT_EQ(found.size(), 300u) << "three bytes at the end are no number";
  for (std::uint32_t i = 0; i < 300; ++i) EXPECT_EQ(found[i], kFirstPage + 2 * i);
}

TEST_F(BalloonTest, ALongChainTakesSeveralTurns) {
  start();
  std::vector<std::uint32_t> pages;
  for (std::uint32_t page = kFirstPage; page < kMemoryPages; ++page) pages.push_back(page);
  rings_[0].add({numbers(pages)});
  kick(0);
  EXPECT_EQ(wait_used(0).size(), 1u);
  EXPECT_EQ(given_back(), (std::vector<std::uint64_t>{pages.begin(), pages.end()}));
  EXPECT_EQ(balloon_->discarded_pages(), pages.size());
}

TEST_F(BalloonTest, DeflatingIsAcknowledged) {
  start();
  rings_[1].add({numbers({kFirstPage, 0xFFFF'FFFF})});
  kick(1);
  EXPECT_EQ(rings_[1].take_all_used(), (std::vector<Used>{{0, 0}}));
  EXPECT_TRUE(given_back().empty());
}

TEST_F(BalloonTest, ReportedPagesAreTrackedZeros) {
  start();
  constexpr std::uint64_t kBase = kFirstPage * kPageSizeBytes;
  const auto head = rings_[2].add({{kBase, 0x4000, true}, {kBase + 0x10000, 0x1000, true}});
  kick(2);
  EXPECT_EQ(rings_[2].take_all_used(), (std::vector<Used>{{head, 0}}));
  EXPECT_THAT(given_back(), ::testing::ElementsAre(kFirstPage, kFirstPage + 1, kFirstPage + 2, kFirstPage + 3, kFirstPage + 16));
}

TEST_F(BalloonTest, OfAReportedBufferOnlyWholePages) {
  start();
  constexpr std::uint64_t kBase = kFirstPage * kPageSizeBytes;
  rings_[2].add({{kBase + 1, 0x2fff, true}, {kBase + 0x10000, 0xfff, true}, {kBase + 0x20800, 0x1000, true}});
  kick(2);
  EXPECT_EQ(rings_[2].take_all_used().size(), 1u);
  EXPECT_THAT(given_back(), ::testing::ElementsAre(kFirstPage + 1, kFirstPage + 2));
}

TEST_F(BalloonTest, ALargeReportTakesSeveralTurnsAndLosesNoPageBetweenThem) {
  start();
  const std::uint64_t base = kFirstPage * kPageSizeBytes + 0x800;
  rings_[2].add({{base, static_cast<std::uint32_t>(kRigMemoryBytes - base), true}});
  kick(2);
  EXPECT_EQ(wait_used(2).size(), 1u);
  EXPECT_EQ(given_back().size(), kMemoryPages - kFirstPage - 1);
}

TEST_F(BalloonTest, MemoryThatIsNotTheGuestsStopsTheDevice) {
  start();
  rings_[2].add({{kRigMemoryBytes - kPageSizeBytes, 2 * kPageSizeBytes, true}});
  kick(2);
  EXPECT_NE(driver_->status() & VIRTIO_CONFIG_S_NEEDS_RESET, 0u);
  EXPECT_TRUE(given_back().empty());
}

TEST_F(BalloonTest, AChainThatAPauseCutIsBegunAgain) {
  start();
  std::vector<std::uint32_t> pages;
  for (std::uint32_t page = kFirstPage; page < kMemoryPages; ++page) pages.push_back(page);
  rings_[0].add({numbers(pages)});
  driver_->notify(0);
  // Wherever it stands: what was done is done, and the chain is still the ring's or used.
  for (int i = 0; i < 20; ++i) {
    rig_.on_loop([&] { ASSERT_TRUE(balloon_->quiesce()); });
    const auto discarded = balloon_->discarded_pages();
    rig_.settle();
    EXPECT_EQ(balloon_->discarded_pages(), discarded);
    rig_.on_loop([&] { balloon_->resume(); });
  }
  EXPECT_EQ(wait_used(0).size(), 1u);
  EXPECT_EQ(given_back().size(), pages.size());
}

}  // namespace
}  // namespace understudy
