#include <atomic>
#include <set>

#include <gtest/gtest.h>

#include "tests/unit/vmm/device_rig.h"
#include "tests/unit/vmm/virtio_driver.h"
#include "vmm/devices/rng/rng.h"

namespace understudy {
namespace {

constexpr EntropyLimits kNoLimit{.bytes_per_interval = std::size_t{1} << 40, .interval = std::chrono::hours{1}};

// Gives 1, 2, 3, ... as long as it has any.
struct CountingSource {
  std::size_t operator()(MutableBytes out) const {
    const std::size_t count = std::min<std::size_t>(out.size(), *left);
    for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<std::byte>(++*given & 0xFF);
    *left -= count;
    return count;
  }
  std::shared_ptr<std::atomic<std::size_t>> left = std::make_shared<std::atomic<std::size_t>>(SIZE_MAX);
  std::shared_ptr<std::atomic<std::size_t>> given = std::make_shared<std::atomic<std::size_t>>(0);
};

class RngTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kRing = 0x10000;
  static constexpr std::uint64_t kData = 0x100000;
  static constexpr std::uint16_t kSize = 16;

  ~RngTest() override {
    if (rng_) rig_.on_loop([&] { rng_->detach(); });
  }
  void start(EntropySource source, EntropyLimits limits = kNoLimit) {
    auto made = Rng::create({"rng0", GuestPhysicalAddress{0xD000'0000}, rig_.memory, &rig_.loop()}, std::move(source), limits);
    ASSERT_TRUE(made);
    rng_ = std::move(*made);
    driver_.emplace(*rng_);
    rig_.on_loop([&] { rng_->resume(); });
    ASSERT_TRUE(driver_->negotiate(VirtioDriver::kUsual));
    driver_->set_queue(0, ring_);
    driver_->driver_ok();
    rig_.settle();
  }
  void kick() {
    driver_->notify(0);
    rig_.settle();
  }
  std::vector<unsigned> bytes(std::uint64_t at, std::size_t length) {
    std::vector<unsigned> out;
    const MutableBytes read = *rig_.memory->at(GuestPhysicalAddress{at}, length);
    for (const std::byte byte : read) out.push_back(std::to_integer<unsigned>(byte));
    return out;
  }
  // Until `count` requests came back, or nothing comes any more.
  std::vector<Used> wait_used(std::size_t count) {
    std::vector<Used> used;
    const auto until = std::chrono::steady_clock::now() + kHangBound;
    while (used.size() < count && std::chrono::steady_clock::now() < until) {
      rig_.settle();
      for (const Used& each : ring_.take_all_used()) used.push_back(each);
    }
    return used;
  }

  DeviceRig rig_;
  CountingSource source_;
  std::unique_ptr<Rng> rng_;
  std::optional<VirtioDriver> driver_;
  DriverRing ring_{*rig_.memory, kRing, kSize};
};

TEST_F(RngTest, TellsItsIdentity) {
  start(source_);
  EXPECT_EQ(driver_->read(VIRTIO_MMIO_DEVICE_ID), 4u);
  EXPECT_EQ(driver_->offered(), VirtioDriver::kUsual) << "the transport's alone";
  EXPECT_EQ(rng_->queue_count(), 1u);
  std::array<std::byte, 8> config;
  rng_->read(VirtioMmio::kConfigOffset, config);
  EXPECT_TRUE(std::ranges::all_of(config, [](std::byte byte) { return byte == std::byte{0}; }));
}

TEST_F(RngTest, FillsTheBuffersOfAChain) {
  start(source_);
  rig_.written();
  const auto head = ring_.add({{kData, 3, true}, {kData + 0x1000, 0, true}, {kData + 0x2000, 2, true}});
  kick();
  EXPECT_EQ(ring_.take_all_used(), (std::vector<Used>{{head, 5}}));
  EXPECT_EQ(bytes(kData, 4), (std::vector<unsigned>{1, 2, 3, 0}));
  EXPECT_EQ(bytes(kData + 0x2000, 3), (std::vector<unsigned>{4, 5, 0}));
  const auto written = rig_.written();
  EXPECT_TRUE(written.contains(PageIndex{kData >> kPageShift}));
  EXPECT_TRUE(written.contains(PageIndex{(kData + 0x2000) >> kPageShift}));
  EXPECT_FALSE(written.contains(PageIndex{(kData + 0x1000) >> kPageShift}));
  EXPECT_GT(drain_fd(rng_->interrupt().fd()), 0u);
}

TEST_F(RngTest, TheHostsBytesDiffer) {
  start(host_entropy);
  for (std::uint64_t i = 0; i < 8; ++i) ring_.add({{kData + 16 * i, 16, true}});
  kick();
  ASSERT_EQ(wait_used(8).size(), 8u);
  std::set<std::vector<unsigned>> drawn;
  for (std::uint64_t i = 0; i < 8; ++i) drawn.insert(bytes(kData + 16 * i, 16));
  EXPECT_EQ(drawn.size(), 8u);
}

TEST_F(RngTest, AnswersWithLessThanALargeBufferHolds) {
  start(source_);
  const auto head = ring_.add({{kData, 0x10000, true}});
  kick();
  EXPECT_EQ(ring_.take_all_used(), (std::vector<Used>{{head, Rng::kMaxAnswerBytes}}));
  EXPECT_EQ(bytes(kData + Rng::kMaxAnswerBytes, 1), std::vector<unsigned>{0});
}

TEST_F(RngTest, ABufferThatIsNoneStopsTheDevice) {
  for (const auto& bad : {std::vector<Buffer>{{kData, 16}}, {{kData, 16}, {kData + 16, 16, true}}, {{kData, 0, true}}}) {
    ring_ = DriverRing{*rig_.memory, kRing, kSize};
    if (rng_) rig_.on_loop([&] { rng_->detach(); });
    start(source_);
    ring_.add(bad);
    kick();
    EXPECT_NE(driver_->status() & VIRTIO_CONFIG_S_NEEDS_RESET, 0u);
    EXPECT_EQ(*source_.given, 0u);
  }
}

TEST_F(RngTest, NeverGivesMoreThanItsAllowance) {
  start(source_, {.bytes_per_interval = 100, .interval = std::chrono::hours{1}});
  for (std::uint64_t i = 0; i < 4; ++i) ring_.add({{kData + 64 * i, 64, true}});
  kick();
  EXPECT_EQ(ring_.take_all_used(), (std::vector<Used>{{0, 64}, {1, 36}})) << "the rest waits in the ring";
  kick();
  EXPECT_TRUE(ring_.take_all_used().empty());
  EXPECT_EQ(*source_.given, 100u);
}

TEST_F(RngTest, ComesBackForWhatWaits) {
  start(source_, {.bytes_per_interval = 64, .interval = std::chrono::milliseconds{1}});
  for (std::uint64_t i = 0; i < 8; ++i) ring_.add({{kData + 64 * i, 64, true}});
  kick();
  EXPECT_EQ(wait_used(8).size(), 8u) << "without another kick";
}

TEST_F(RngTest, AHostWithoutEntropyIsAskedAgain) {
  *source_.left = 0;
  start(source_);
  ring_.add({{kData, 8, true}});
  kick();
  EXPECT_TRUE(ring_.take_all_used().empty());
  *source_.left = 8;
  EXPECT_EQ(wait_used(1), (std::vector<Used>{{0, 8}}));
}

TEST_F(RngTest, WhatWaitsIsGivenBackToTheRingAtAQuiesceAndAnsweredAfter) {
  start(source_, {.bytes_per_interval = 64, .interval = std::chrono::milliseconds{20}});
  for (std::uint64_t i = 0; i < 3; ++i) ring_.add({{kData + 64 * i, 64, true}});
  kick();
  rig_.on_loop([&] { ASSERT_TRUE(rng_->quiesce()); });
  const std::size_t before = ring_.take_all_used().size();
  const std::size_t given = *source_.given;
  std::this_thread::sleep_for(std::chrono::milliseconds{60});
  rig_.settle();
  EXPECT_EQ(*source_.given, given) << "a timer that was armed is not";
  rig_.on_loop([&] { rng_->resume(); });
  EXPECT_EQ(wait_used(3 - before).size(), 3 - before);
}

TEST_F(RngTest, AResetForgetsWhatWaits) {
  start(source_, {.bytes_per_interval = 1, .interval = std::chrono::milliseconds{1}});
  ring_.add({{kData, 1, true}});
  ring_.add({{kData, 1, true}});
  kick();
  driver_->write(VIRTIO_MMIO_STATUS, 0);
  EXPECT_EQ(driver_->status(), 0u);
  const std::size_t given = *source_.given;
  std::this_thread::sleep_for(std::chrono::milliseconds{5});
  rig_.settle();
  EXPECT_EQ(*source_.given, given);
}

TEST(EntropyAllowanceTest, IsSoMuchAnInterval) {
  EntropyAllowance allowance{{.bytes_per_interval = 10, .interval = std::chrono::seconds{1}}};
  const Instant start{std::chrono::seconds{5}};
  EXPECT_EQ(allowance.at(start), 10u);
  allowance.spend(4);
  EXPECT_EQ(allowance.at(start + std::chrono::milliseconds{500}), 6u);
  allowance.spend(6);
  EXPECT_EQ(allowance.at(start + std::chrono::milliseconds{999}), 0u);
  EXPECT_EQ(allowance.refill_at(), start + std::chrono::seconds{1});
  EXPECT_EQ(allowance.at(start + std::chrono::seconds{9}), 10u) << "nothing piles up";
}

TEST(RngLimits, ZeroIsRefused) {
  DeviceRig rig;
  const auto create = [&](EntropyLimits limits) {
    return Rng::create({"rng0", GuestPhysicalAddress{0xD000'0000}, rig.memory, &rig.loop()}, host_entropy, limits).has_value();
  };
  EXPECT_FALSE(create({.bytes_per_interval = 0, .interval = std::chrono::seconds{1}}));
  EXPECT_FALSE(create({.bytes_per_interval = 1, .interval = Duration{0}}));
}

}  // namespace
}  // namespace understudy
