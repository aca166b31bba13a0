// The epoch protocol between both real sessions: transfer, epochs, output commit, disks, terms, switchover, takeover.
#include <gmock/gmock.h>

#include "session_fixture.h"

namespace understudy {
namespace {

using ::testing::HasSubstr;

TEST_F(SessionTest, FullTransferThenEpochsMakeTheImagesEqual) {
  for (std::size_t page = 0; page < kPages; page += 3) machine_a->guest_write_u64(page * kPageSizeBytes + 8, page + 1);
  machine_a->set_counter(42);
  disk_a->guest_write(4096, bytes_of(512, 7));
  protect();
  ASSERT_EQ(primary_log.ups.size(), 1U);
  EXPECT_TRUE(primary_log.ups[0].full);
  EXPECT_EQ(secondary_log.overwritten, 1U);
  EXPECT_TRUE(primary_log.reports.front().full_transfer);
  EXPECT_TRUE(images_equal());

  machine_a->guest_write_u64(0, 99);
  machine_a->set_counter(43);
  disk_a->guest_write(8192, bytes_of(1024, 9));
  run(40ms);
  EXPECT_TRUE(images_equal());
  const auto image = secondary->prepare_takeover();
  ASSERT_TRUE(image) << image.error().text();
  EXPECT_EQ(image->at, secondary_log.committed.back());
  ASSERT_TRUE(machine_b->restore(image->state.bytes));
  EXPECT_EQ(machine_b->counter(), 43U);
}

TEST_F(SessionTest, OutputOfAnIdleGuestEndsItsEpochAtOnce) {
  config.pacing.longest = 500ms;
  build();
  protect();
  gate->on_output([this](Epoch epoch) { primary->output_waits(epoch, clock.now()); });
  run(100ms);
  const std::uint64_t sent = primary->stats().epochs_sent;
  ASSERT_TRUE(send_frame(1));
  EXPECT_EQ(primary->stats().epochs_sent, sent + 1) << "without a timer between";
  EXPECT_TRUE(port.sent().empty()) << "but not without an ack";
  run(3ms);
  EXPECT_EQ(port.sent().size(), 1U);
  ASSERT_TRUE(primary->pacing().late_p50);
  EXPECT_LE(*primary->pacing().late_p50, 4ms);
  run(100ms);
  EXPECT_EQ(primary->stats().epochs_sent, sent + 1) << "nothing waits any more";
}

TEST_F(SessionTest, NewsOfOutputThatComesLateEndsNoLaterEpoch) {
  config.pacing.longest = 500ms;
  build();
  protect();
  const Epoch past = gate->open_epoch();
  ASSERT_TRUE(send_frame(1));
  run(600ms);
  ASSERT_GT(gate->open_epoch(), past);
  const std::uint64_t sent = primary->stats().epochs_sent;
  primary->output_waits(past, clock.now());
  run(50ms);
  EXPECT_EQ(primary->stats().epochs_sent, sent);
}

TEST_F(SessionTest, GuestRunsAndWritesDuringTheTransfer) {
  for (std::size_t page = 0; page < kPages; ++page) machine_a->guest_write_u64(page * kPageSizeBytes, page + 1);
  config.final_round_pages = 4;
  config.disk_chunk_bytes = 4096;  // many chunks, with writes between them
  build();
  for (std::size_t page = 0; page < kPages; ++page) machine_a->guest_write_u64(page * kPageSizeBytes, page + 1);
  links->a.set_limit(2);
  start();
  std::uint64_t round = 0;
  while (!primary->is_protecting()) {
    ASSERT_LT(++round, 2000U);
    step();
    if (!machine_a->running()) continue;
    machine_a->guest_write_u64((round * 37 % kPages) * kPageSizeBytes + 16, round);
    disk_a->guest_write(round * 512 * 13 % kDiskBytes, bytes_of(512, static_cast<std::uint8_t>(round)));
  }
  run(60ms);
  EXPECT_TRUE(images_equal());
  EXPECT_EQ(disk_a->unacked(), 0U);
}

TEST_F(SessionTest, ZerosReplaceWhatTheSecondaryHeldAndCostNothingOnTheLink) {
  std::ranges::fill(disk_b->image(), std::byte{0xAB});  // an image that was in use before
  disk_a->guest_write(128 << 10, bytes_of(512, 7));
  protect();
  EXPECT_EQ(disk_a->image(), disk_b->image());
  disk_a->guest_write(0, bytes_of(8192, 9));
  run(40ms);
  const auto before = primary->stats().epochs_committed;
  disk_a->guest_zero(512, 1 << 19);
  disk_a->guest_write(4096, bytes_of(512, 3));
  run(40ms);
  EXPECT_GT(primary->stats().epochs_committed, before);
  EXPECT_EQ(disk_a->image(), disk_b->image());
  EXPECT_EQ(disk_b->image()[512], std::byte{0});
  EXPECT_EQ(disk_b->image()[4096], std::byte{3});
  EXPECT_EQ(disk_a->unacked(), 0U) << "what an extent counts for is released";
  const auto discard =
      std::ranges::find_if(primary_log.reports, [](const EpochReport& report) { return !report.full_transfer && report.disk_writes == 2; });
  ASSERT_NE(discard, primary_log.reports.end());
  EXPECT_LT(discard->sent_bytes, 1U << 19);
}

TEST_F(SessionTest, OutputLeavesOnlyAfterItsEpochsAck) {
  protect();
  run(30ms);
  links_move = false;  // acks stand still from here
  ASSERT_TRUE(send_frame(1));
  const Epoch epoch = gate->open_epoch();
  run(60ms);  // the epoch ends and is sent
  EXPECT_GT(gate->open_epoch(), epoch);
  EXPECT_TRUE(port.sent().empty());
  links_move = true;
  run(2ms);
  EXPECT_EQ(port.sent().size(), 1U);
  EXPECT_GE(secondary->committed().epoch, epoch);
}

TEST_F(SessionTest, SilentPeerBoundsMemoryAndNeverStallsTheGuest) {
  protect();
  const std::uint64_t pauses = machine_a->pauses();
  links_move = false;
  for (int i = 0; i < 1000; ++i) {
    if (machine_a->running())
      machine_a->guest_write_u64((static_cast<std::size_t>(i) * 7 % kPages) * kPageSizeBytes, static_cast<std::uint64_t>(i));
    step();
    EXPECT_TRUE(machine_a->running());
  }
  EXPECT_LE(machine_a->pauses() - pauses, config.window.max_in_flight);
  EXPECT_LE(links->a.most_queued(), 64U);
  EXPECT_GE(primary->stats().epochs_put_off, 1U);
  EXPECT_TRUE(primary_log.broken.empty());
  run(config.window.ack_timeout);
  ASSERT_EQ(primary_log.broken.size(), 1U);
  EXPECT_THAT(primary_log.broken[0], HasSubstr("no ack of epoch"));
}

TEST_F(SessionTest, SlowLinkHoldsEpochsBackAndLosesNothing) {
  protect();
  links->a.set_limit(1);
  links_move = false;
  for (int i = 0; i < 600; ++i) {
    clock.advance(1ms);
    machine_a->guest_write_u64((static_cast<std::size_t>(i) % kPages) * kPageSizeBytes, static_cast<std::uint64_t>(i));
    primary->tick(clock.now());
    if (i % 5 == 0) links->deliver(1);
    EXPECT_LE(links->a.queue().size(), 1U);
  }
  links_move = true;
  links->a.set_limit(64);
  run(60ms);
  EXPECT_TRUE(primary_log.broken.empty());
  EXPECT_TRUE(images_equal());
}

TEST_F(SessionTest, DirtySetLargerThanStagingIsShippedInChunksWhilePaused) {
  staging_buffers = 2;
  staging_pages = 16;
  config.batch_pages = 16;
  build();
  protect();
  links_move = false;
  for (std::size_t page = 0; page < 200; ++page) machine_a->guest_write_u64(page * kPageSizeBytes, page + 5);
  run(30ms);
  EXPECT_FALSE(machine_a->running());  // bounded memory has this price
  EXPECT_EQ(pool->free_buffers(), 0U);
  EXPECT_EQ(primary->stats().pauses_in_chunks, 1U);
  links_move = true;
  run(60ms);
  EXPECT_TRUE(machine_a->running());
  EXPECT_TRUE(images_equal());
}

TEST_F(SessionTest, PauseInChunksEndsAtItsLimitAndLosesNothing) {
  staging_buffers = 2;
  staging_pages = 16;
  config.batch_pages = 16;
  config.max_pause = 50ms;
  build();
  protect();
  links_move = false;
  for (std::size_t page = 0; page < 200; ++page) machine_a->guest_write_u64(page * kPageSizeBytes, page + 5);
  run(100ms);
  EXPECT_TRUE(machine_a->running());
  ASSERT_EQ(primary_log.broken.size(), 1U);
  EXPECT_EQ(machine_a->tracked_dirty(), 200U);  // all given back
  links_move = true;
  start(Session{2});
  run(200ms);
  EXPECT_EQ(primary->stats().catch_ups, 1U);
  EXPECT_TRUE(images_equal());
}

TEST_F(SessionTest, FailedStepsOfAPauseLoseNothing) {
  protect();
  machine_a->guest_write_u64(4096, 1234);
  machine_a->fail_next_pause(Error{ErrorCode::kTimeout, "vCPU 0 did not stop"});
  run(26ms);
  machine_a->fail_next_save(Error{ErrorCode::kFailed, "no state"});
  run(26ms);
  machine_a->fail_next_harvest(Error{ErrorCode::kFailed, "no log"});
  run(26ms);
  EXPECT_EQ(primary->stats().epochs_aborted, 3U);
  EXPECT_TRUE(machine_a->running());
  run(30ms);
  EXPECT_TRUE(images_equal());
  EXPECT_TRUE(primary_log.broken.empty());
}

TEST_F(SessionTest, DiskWritesOfAnUnackedEpochAreBounded) {
  protect();
  disk_a->set_limit(64 * 512);
  links_move = false;
  int accepted = 0;
  for (int i = 0; i < 500; ++i) {
    accepted += disk_a->guest_write(static_cast<std::uint64_t>(i) * 512, bytes_of(512, 1)) ? 1 : 0;
    step();
  }
  EXPECT_EQ(accepted, 64);
  links_move = true;
  run(60ms);
  EXPECT_EQ(disk_a->unacked(), 0U);
  EXPECT_TRUE(disk_a->guest_write(0, bytes_of(512, 2)));
}

TEST_F(SessionTest, SecondaryWithASlowDiskHoldsItsAckBack) {
  secondary_config.max_disk_backlog_bytes = 1024;
  build();
  protect();
  disk_b->set_stuck(true);
  disk_a->guest_write(0, bytes_of(4096, 3));
  run(60ms);
  const std::size_t committed = primary_log.committed.size();
  run(200ms);
  EXPECT_EQ(primary_log.committed.size(), committed);
  EXPECT_GE(secondary->stats().acks_held_back, 1U);
  disk_b->set_stuck(false);
  run(60ms);
  EXPECT_GT(primary_log.committed.size(), committed);
  EXPECT_TRUE(images_equal());
}

TEST_F(SessionTest, SecondaryWithAFailedDiskAcksNothingAndTakesNothingOver) {
  protect();
  disk_b->set_failure(Error{ErrorCode::kFailed, "write at 0: Input/output error (EIO)"});
  run(5ms);
  ASSERT_EQ(primary_log.broken.size(), 1U);
  EXPECT_THAT(primary_log.broken[0], HasSubstr("Input/output error"));
  EXPECT_FALSE(secondary->prepare_takeover());
}

TEST_F(SessionTest, AReadOnlyDiskIsNotTransferred) {
  fake::FakeDiskStream stream{kDiskBytes, true};
  fake::FakeDiskSink sink{kDiskBytes, true};
  sink.image()[0] = std::byte{7};
  primary =
      std::make_unique<PrimarySession>(config, *machine_a, *gate, links->a, *pool, std::vector<DiskStream*>{&stream}, clock, primary_log);
  secondary = std::make_unique<SecondarySession>(secondary_config, *machine_b, links->b, std::vector<DiskSink*>{&sink}, secondary_log);
  protect();
  EXPECT_EQ(sink.image()[0], std::byte{7});
  primary.reset();
  secondary.reset();
}

TEST_F(SessionTest, AnImageOfAHigherTermIsNotOverwrittenByALowerOne) {
  protect();
  gate->pair(Term{6});
  primary->raise_term(Term{6}, clock.now());
  run(30ms);
  primary->forget();
  primary->start({Session{2}, kTerm, kSecondaryIncarnation}, clock.now());
  run(5ms);
  ASSERT_EQ(primary_log.refused.size(), 1U);
  EXPECT_THAT(primary_log.refused[0], HasSubstr("below that of the image held here, 6"));
  EXPECT_TRUE(secondary->image_whole());
}

TEST_F(SessionTest, RaisedTermIsAckedAgainAndOldAcksDoNotCount) {
  protect();
  const Epoch before = primary->committed();
  gate->pair(Term{6});
  ASSERT_TRUE(send_frame(9));
  primary->raise_term(Term{6}, clock.now());
  links->deliver();
  EXPECT_EQ(gate->stats().committed, before);  // said again, in the new term
  EXPECT_EQ(secondary->committed(), (CommittedEpoch{Term{6}, before}));
  run(30ms);
  EXPECT_EQ(port.sent().size(), 1U);
  EXPECT_EQ(primary_log.committed.back().term, Term{6});
}

TEST_F(SessionTest, NothingBelowAPromiseIsAcked) {
  protect();
  const std::uint64_t acks = secondary->stats().acks;
  const CommittedEpoch held = secondary->committed();
  secondary->promise(Term{9});
  machine_a->guest_write_u64(0, 77);
  run(60ms);
  EXPECT_EQ(secondary->stats().acks, acks);
  EXPECT_EQ(secondary->committed(), held);
  ASSERT_EQ(primary_log.promises.size(), 1U);
  EXPECT_EQ(primary_log.promises[0], Term{9});
  // The pair turns out whole: in a higher term they go on.
  gate->pair(Term{10});
  start(Session{2}, Term{10});
  run(60ms);
  EXPECT_EQ(primary->stats().catch_ups, 1U);
  EXPECT_TRUE(images_equal());
}

TEST_F(SessionTest, FinalEpochLeavesTheGuestStanding) {
  protect();
  machine_a->guest_write_u64(64, 4711);
  disk_a->guest_write(0, bytes_of(512, 5));
  primary->final_epoch(clock.now());
  EXPECT_TRUE(machine_a->paused());
  run(5ms);
  ASSERT_TRUE(primary_log.final_at);
  EXPECT_EQ(*primary_log.final_at, secondary->committed());
  EXPECT_TRUE(machine_a->paused());
  EXPECT_TRUE(images_equal());
  const std::size_t pauses = machine_a->pauses();
  run(100ms);
  EXPECT_EQ(machine_a->pauses(), pauses);
  EXPECT_EQ(primary->next_tick(), Instant::max());  // nothing is due while it stands and nothing is in flight
  // It goes on here after all.
  ASSERT_TRUE(primary->resume_guest(clock.now()));
  EXPECT_TRUE(machine_a->running());
  machine_a->guest_write_u64(64, 4712);
  run(60ms);
  EXPECT_TRUE(images_equal());
}

TEST_F(SessionTest, FailedFinalEpochResumesTheGuest) {
  protect();
  links->cut(true);
  primary->final_epoch(clock.now());
  EXPECT_TRUE(machine_a->paused());
  run(config.window.ack_timeout + 10ms);
  EXPECT_EQ(primary_log.final_failed.size(), 1U);
  EXPECT_FALSE(primary_log.final_at);
  EXPECT_TRUE(machine_a->running());
}

TEST_F(SessionTest, FinalEpochWithoutASessionFailsAtOnce) {
  primary->final_epoch(clock.now());
  EXPECT_EQ(primary_log.final_failed.size(), 1U);
  EXPECT_TRUE(machine_a->running());
}

TEST_F(SessionTest, TakeoverThrowsAwayWhatIsNotWhole) {
  protect();
  machine_a->guest_write_u64(0, 1);
  run(30ms);
  const CommittedEpoch held = secondary->committed();
  const std::vector<std::byte> memory{machine_b->memory().begin(), machine_b->memory().end()};
  const auto disk = disk_b->image();
  links_move = false;
  for (std::size_t page = 0; page < 300; ++page) machine_a->guest_write_u64(page * kPageSizeBytes, 7);
  disk_a->guest_write(0, bytes_of(512, 8));
  run(26ms);
  ASSERT_GE(links->a.queue().size(), 3U);
  links->a.deliver_one();  // a part, but not all
  links->a.deliver_one();
  const auto image = secondary->prepare_takeover();
  ASSERT_TRUE(image);
  EXPECT_EQ(image->at, held);
  EXPECT_TRUE(std::ranges::equal(machine_b->memory(), memory));
  EXPECT_EQ(disk_b->image(), disk);
  EXPECT_EQ(secondary->stats().epochs_thrown_away, 1U);
  // And nothing that comes later is taken or acked.
  const std::uint64_t acks = secondary->stats().acks;
  links->deliver();
  EXPECT_EQ(secondary->stats().acks, acks);
  EXPECT_TRUE(std::ranges::equal(machine_b->memory(), memory));
}

TEST_F(SessionTest, NoTakeoverFromAHalfTransferredImage) {
  protect();
  // The primary forgets the peer and begins anew; the transfer is cut short.
  primary->forget();
  start(Session{2});
  links->deliver(6);
  EXPECT_EQ(secondary_log.overwritten, 2U);
  EXPECT_FALSE(secondary->image_whole());
  const auto image = secondary->prepare_takeover();
  ASSERT_FALSE(image);
  EXPECT_THAT(image.error().text(), HasSubstr("no whole epoch"));
}

TEST_F(SessionTest, BeginFromAKnownBaseNeedsNoTransfer) {
  // A switchover just now: both images are epoch 8 of term 4.
  machine_a->guest_write_u64(0, 5);
  std::ranges::copy(machine_a->memory(), machine_b->page_for_writing(PageIndex{0}).data());
  ASSERT_TRUE(machine_a->pause(1ms));
  gate->mute();
  gate->set_open_epoch(Epoch{9});
  gate->pair(kTerm);
  const auto state = machine_a->save();
  const auto copy = std::make_shared<std::vector<std::byte>>(state->begin(), state->end());
  secondary->adopt_image({Term{4}, Epoch{8}}, OwnedBytes{*copy, copy});
  ASSERT_TRUE(primary->begin_from({Term{4}, Epoch{8}}, clock.now()));
  ASSERT_TRUE(machine_a->resume());
  machine_a->guest_write_u64(4096, 6);
  disk_a->guest_write(512, bytes_of(512, 4));
  start();
  run(60ms);
  EXPECT_EQ(primary->stats().full_transfers, 0U);
  EXPECT_EQ(secondary_log.overwritten, 0U);
  EXPECT_TRUE(images_equal());
  EXPECT_GT(primary->committed(), Epoch{8});
}

TEST_F(SessionTest, WhatTheGuestNeverTouchedOrGaveBackCostsNoBytesAndNoMemory) {
  for (std::size_t page = 0; page < kPages; ++page)
    if (page % 100 < 70) machine_a->give_back(PageIndex{page});
  protect();
  EXPECT_TRUE(images_equal());
  for (std::size_t page = 0; page < kPages; ++page) {
    ASSERT_EQ(machine_a->holds(PageIndex{page}), page % 100 >= 70) << page;
    ASSERT_TRUE(page % 100 >= 70 || !machine_b->holds(PageIndex{page})) << page;
  }
  for (std::size_t page = 70; page < 100; ++page) machine_a->guest_write_u64(page * kPageSizeBytes, page);
  run(100ms);
  for (std::size_t page = 70; page < 95; ++page) machine_a->give_back(PageIndex{page});
  const std::size_t before = primary_log.reports.size();
  run(100ms);
  EXPECT_TRUE(images_equal());
  ASSERT_GT(primary_log.reports.size(), before);
  std::size_t zero_pages = 0;
  std::size_t sent_bytes = 0;
  for (std::size_t i = before; i < primary_log.reports.size(); ++i) {
    zero_pages += primary_log.reports[i].zero_pages;
    sent_bytes = std::max(sent_bytes, primary_log.reports[i].sent_bytes);
  }
  EXPECT_EQ(zero_pages, 25U);
  EXPECT_LT(sent_bytes, kPageSizeBytes) << "the machine's state alone";
  for (std::size_t page = 70; page < 95; ++page) EXPECT_FALSE(machine_a->holds(PageIndex{page}) || machine_b->holds(PageIndex{page}));
}

}  // namespace
}  // namespace understudy
