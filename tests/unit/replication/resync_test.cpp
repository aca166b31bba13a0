// After a break: only what may differ is sent, whatever happened meanwhile, and however often it is broken off.
#include "replication/extent_map.h"
#include "session_fixture.h"

namespace understudy {
namespace {

TEST(ExtentMap, MarksWhatIsTouched) {
  ExtentMap map{1 << 20};
  EXPECT_EQ(map.grain_bytes(), 4096U);
  EXPECT_TRUE(map.empty());
  map.mark(4095, 2);
  map.mark(100 * 4096, 512);
  map.mark(200 * 4096, 0);
  EXPECT_EQ(map.marked_bytes(), 3U * 4096);
  EXPECT_EQ(map.next(0, 1 << 20), (ExtentMap::Extent{0, 2 * 4096}));
  EXPECT_EQ(map.next(5000, 1 << 20), (ExtentMap::Extent{5000, 2 * 4096 - 5000}));
  EXPECT_EQ(map.next(2 * 4096, 1 << 20), (ExtentMap::Extent{100 * 4096, 4096}));
  EXPECT_EQ(map.next(101 * 4096, 1 << 20), std::nullopt);
  ExtentMap all{1 << 20};
  all.mark_all();
  EXPECT_EQ(all.next(0, 64 << 10), (ExtentMap::Extent{0, 64 << 10}));
  EXPECT_EQ(all.next(0, 100), (ExtentMap::Extent{0, 4096}));
  map.merge(all);
  EXPECT_EQ(map.marked_bytes(), 1U << 20);
  map.clear();
  EXPECT_TRUE(map.empty());
}

TEST(ExtentMap, OfALargeDiskIsCoarserAndOfAnOddOneEndsWithIt) {
  const ExtentMap large{std::uint64_t{1} << 40};
  EXPECT_EQ(large.grain_bytes(), 32768U);
  ExtentMap odd{10 * 4096 + 512};
  odd.mark(10 * 4096, 512);
  EXPECT_EQ(odd.marked_bytes(), 512U);
  EXPECT_EQ(odd.next(0, 1 << 20), (ExtentMap::Extent{10 * 4096, 512}));
  EXPECT_EQ(odd.next(odd.disk_bytes(), 1 << 20), std::nullopt);
}

class ResyncTest : public SessionTest {
 protected:
  // A break that is too long to be caught up after.
  void break_for_long() {
    links->cut(true);
    run(config.window.ack_timeout + 10ms);
    ASSERT_EQ(primary_log.broken.size(), breaks_ += 1);
    run(config.resume_within + 10ms);
  }
  void come_back() {
    links->cut(false);
    start(Session{next_session_++});
  }
  std::uint64_t sent() const { return primary->transfer_progress(clock.now()).bytes_sent; }
  void fill() {
    for (std::size_t page = 0; page < kPages; ++page) machine_a->guest_write_u64(page * kPageSizeBytes, page + 1);
    disk_a->guest_write(0, bytes_of(kDiskBytes, 7));
  }

  std::size_t breaks_ = 0;
  std::uint64_t next_session_ = 2;
};

TEST_F(ResyncTest, SendsOnlyWhatMayDiffer) {
  fill();
  protect();
  machine_a->guest_write_u64(3 * kPageSizeBytes, 77);  // its epoch is on the way when the link goes
  disk_a->guest_write(8192, bytes_of(512, 1));
  break_for_long();
  for (const std::size_t page : {10U, 11U, 200U}) machine_a->guest_write_u64(page * kPageSizeBytes + 64, 99);
  disk_a->guest_write(64 * 4096, bytes_of(4096, 2));
  disk_a->guest_zero(128 * 4096, 4096);
  come_back();
  run(100ms);
  EXPECT_EQ(primary_log.ups.back().start, SessionStart::kResync);
  EXPECT_TRUE(primary->is_protecting());
  EXPECT_TRUE(images_equal());
  EXPECT_EQ(sent(), 4 * kPageSizeBytes + 2 * 4096U);
  EXPECT_FALSE(primary->transfer_progress(clock.now()).under_way);
  EXPECT_TRUE(primary->transfer_progress(clock.now()).resync);
}

TEST_F(ResyncTest, WhatTheGuestWritesMeanwhileIsNotMissed) {
  config.transfer_window_bytes = 4 * kPageSizeBytes;
  config.batch_pages = 2;
  build();
  fill();
  protect();
  break_for_long();
  fill();
  come_back();
  for (std::uint64_t i = 0; i < 200; ++i) {
    machine_a->guest_write_u64(i * 5 % kPages * kPageSizeBytes, i);
    disk_a->guest_write(i * 7 % 200 * 4096, bytes_of(512, static_cast<std::uint8_t>(i)));
    step();
  }
  run(100ms);
  EXPECT_EQ(primary->stats().full_transfers, 1U);
  EXPECT_TRUE(images_equal());
}

TEST_F(ResyncTest, BrokenOffAnywhereItGoesOn) {
  config.transfer_window_bytes = 16 * kPageSizeBytes;
  config.batch_pages = 8;
  config.disk_chunk_bytes = 64 << 10;
  build();
  fill();
  protect();
  break_for_long();
  for (std::size_t page = 0; page < kPages; page += 2) machine_a->guest_write_u64(page * kPageSizeBytes, 1000 + page);
  disk_a->guest_write(0, bytes_of(kDiskBytes / 2, 9));
  for (const auto after : {0ms, 1ms, 2ms, 4ms, 7ms, 11ms}) {
    come_back();
    run(after);
    primary->stop(clock.now());
    machine_a->guest_write_u64(5 * kPageSizeBytes, static_cast<std::uint64_t>(after.count()));
    run(10ms);
  }
  come_back();
  run(200ms);
  EXPECT_TRUE(primary->is_protecting());
  EXPECT_EQ(primary->stats().full_transfers, 1U);
  EXPECT_TRUE(images_equal());
}

// What was confirmed before the break is not sent again.
TEST_F(ResyncTest, AFullTransferThatWasBrokenOffGoesOnWhereItWas) {
  staging_pages = 16;
  config.transfer_bytes_per_second = 50 << 20;
  config.transfer_window_bytes = 16 * kPageSizeBytes;
  config.batch_pages = 8;
  build();
  fill();
  constexpr std::uint64_t kAll = kPages * kPageSizeBytes + kDiskBytes;
  start();
  for (int i = 0; i < 1000 && sent() < kAll / 2; ++i) step();
  ASSERT_LT(sent(), kAll * 2 / 3);
  primary->stop(clock.now());
  come_back();
  run(200ms);
  EXPECT_EQ(primary_log.ups.back().start, SessionStart::kResync);
  EXPECT_TRUE(images_equal());
  EXPECT_LT(sent(), kAll * 2 / 3);
}

TEST_F(ResyncTest, AfterAVeryLongBreakEverythingIsSentAgain) {
  config.resync_within = 10s;
  build();
  protect();
  fill();
  links->cut(true);
  run(config.window.ack_timeout + 10ms);
  ASSERT_EQ(primary_log.broken.size(), 1U);
  EXPECT_TRUE(machine_a->tracking());
  run(config.resume_within + 10ms);
  EXPECT_TRUE(machine_a->tracking());
  EXPECT_FALSE(disk_a->streaming());
  run(config.resync_within);
  EXPECT_FALSE(machine_a->tracking());  // solo costs no write faults any more
  links->cut(false);
  start(Session{2});
  run(100ms);
  EXPECT_EQ(primary->stats().full_transfers, 2U);
  EXPECT_TRUE(images_equal());
}

TEST_F(ResyncTest, AGuestDiskIsNotBlockedForAnAbsentPeer) {
  protect();
  disk_a->set_limit(1024);
  links->cut(true);
  ASSERT_TRUE(disk_a->guest_write(0, bytes_of(1024, 1)));
  run(config.window.ack_timeout + 10ms);
  EXPECT_FALSE(disk_a->guest_write(0, bytes_of(1024, 2)));
  run(2ms);
  EXPECT_TRUE(disk_a->guest_write(0, bytes_of(1024, 2)));
  links->cut(false);
  start(Session{2});
  run(100ms);
  EXPECT_EQ(primary->stats().full_transfers, 1U);
  EXPECT_EQ(primary->stats().resyncs, 1U);
  EXPECT_TRUE(images_equal());
}

TEST_F(ResyncTest, AnImageThatIsNotWhatWeLeftGetsEverything) {
  fill();
  protect();
  break_for_long();
  // Another primary's epoch, of which we know nothing.
  secondary->refuse("test");
  secondary->adopt_image({kTerm, Epoch{9999}}, {});
  come_back();
  run(100ms);
  EXPECT_EQ(primary_log.ups.back().start, SessionStart::kFull);
  EXPECT_TRUE(images_equal());
}

TEST_F(ResyncTest, ASecondaryRefusesAResyncOfWhatItDoesNotHold) {
  protect();
  const Epoch held = secondary->committed().epoch;
  primary->stop(clock.now());
  const auto tell = [&](MessageKind kind, std::span<const std::byte> payload) {
    const Envelope envelope{.kind = kind,
                            .pair = kPair,
                            .sender = NodeId::kA,
                            .incarnation = kPrimaryIncarnation,
                            .term = kTerm,
                            .session = Session{77},
                            .epoch = Epoch{}};
    secondary->receive(*decode(encode(envelope, payload), kPair), clock.now());
  };
  Hello hello{.expected_peer = kSecondaryIncarnation, .fingerprint = machine_a->fingerprint(), .disks = {{kDiskBytes, false}}};
  tell(kind::kHello, to_bytes(hello));
  tell(kind::kBegin, to_bytes(Begin{.full = true, .base = Epoch{held.raw() + 1}, .resync = true}));
  ASSERT_FALSE(secondary_log.broken.empty());
  EXPECT_TRUE(secondary->image_whole());
  EXPECT_EQ(secondary_log.overwritten, 1U);  // by the first transfer alone
}

TEST_F(ResyncTest, KeepsToItsRate) {
  config.transfer_bytes_per_second = 4 << 20;
  build();
  fill();
  start();
  run(100ms);
  EXPECT_LE(sent(), (1U << 20) + (4U << 20) / 10 + (1U << 20));
  const TransferProgress half = primary->transfer_progress(clock.now());
  EXPECT_TRUE(half.under_way);
  EXPECT_GT(half.bytes_left, 0U);
  run(700ms);
  EXPECT_TRUE(primary->is_protecting());
  EXPECT_TRUE(images_equal());
}

}  // namespace
}  // namespace understudy
