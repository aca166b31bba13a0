// The durable image over a store that keeps what was committed, and a machine and disks of plain memory. Whatever is answered, refused or
// lost: what a power loss leaves is one epoch, memory and disk.
#include "replication/durable_image.h"

#include <map>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/fake_cut_writer.h"
#include "tests/support/fake_disk.h"
#include "tests/support/fake_machine.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr std::size_t kPages = 256;
constexpr std::size_t kDiskBytes = 64 << 10;
constexpr std::uint32_t kSector = 512;
constexpr Term kTerm{5};

CommittedEpoch at(std::uint64_t epoch) { return {kTerm, Epoch{epoch}}; }

class DurableImageTest : public testing::Test {
 protected:
  DurableImageTest() {
    machine.make_warm();
    config.max_waiting_bytes = 16 << 10;
    config.chunk_pages = 16;
    config.max_chunks = 2;
    make();
  }
  void make(std::optional<CommittedEpoch> stored = std::nullopt) {
    image.reset();
    image = std::make_unique<DurableImage>(config, machine, std::vector<DiskSink*>{&disk}, writer, stored);
  }
  void write_page(std::uint64_t page, std::uint8_t value) {
    const auto bytes = image->target().page_for_writing(PageIndex{page});
    std::ranges::fill(bytes, std::byte{value});
  }
  void write_disk(std::uint64_t sector, std::uint8_t value, std::uint32_t sectors = 1) {
    DiskWrite write{.offset_bytes = sector * kSector, .length_bytes = sectors * kSector, .zeros = value == 0, .data = {}};
    if (!write.zeros) {
      const auto bytes = std::make_shared<fake::DiskBytes>(write.length_bytes, std::byte{value});
      write.data = {*bytes, bytes};
    }
    fake::write_into(expected_disk, write);
    image->disks()[0]->apply(std::move(write));
  }
  void commit(std::uint64_t epoch, const char* ended = "") {
    const auto state = std::make_shared<std::vector<std::byte>>(8, static_cast<std::byte>(epoch));
    history[Epoch{epoch}] = {{machine.memory().begin(), machine.memory().end()}, expected_disk};
    image->committed(at(epoch), OwnedBytes{*state, state}, ended, now);
  }
  void pass(Duration span) {
    now += span;
    image->tick(now);
  }
  // Lets the store answer until nothing is asked any more.
  void settle() {
    for (int i = 0; i < 1000 && (writer.waiting() > 0 || writer.spoils_waiting() > 0); ++i) {
      if (writer.spoils_waiting() > 0)
        writer.answer_spoil();
      else
        writer.answer();
      image->tick(now);
    }
  }
  // The store's cut, if it can be started from, is one epoch's memory and disk.
  void expect_consistent() {
    if (!writer.usable()) return;
    const auto& [memory, bytes] = history.at(writer.stored->at.epoch);
    fake::DiskBytes stored(kPages * kPageSizeBytes);
    for (const auto& [page, contents] : writer.pages) {
      if (contents.empty()) continue;
      std::ranges::copy(contents, stored.begin() + static_cast<std::ptrdiff_t>(page * kPageSizeBytes));
    }
    ASSERT_TRUE(stored == memory) << "memory at epoch " << writer.stored->at.epoch.raw();
    ASSERT_EQ(writer.stored->state.front(), static_cast<std::byte>(writer.stored->at.epoch.raw()));
    // Any of the writes since the latest sync may have reached the disk, or none.
    ASSERT_TRUE(writer.disk(disk.image()) == bytes) << "disk at epoch " << writer.stored->at.epoch.raw();
    if (disk.stable().empty()) return;
    ASSERT_TRUE(writer.disk(disk.stable()) == bytes) << "synced disk at epoch " << writer.stored->at.epoch.raw();
  }
  // A full transfer, and its first epoch.
  void transfer(std::uint64_t epoch) {
    image->overwritten(now);
    for (std::uint64_t page = 0; page < kPages; page += 2) write_page(page, static_cast<std::uint8_t>(page));
    image->target().zero_pages(PageIndex{100}, 10);
    write_disk(0, 1, 64);
    commit(epoch);
  }

  Instant now{1000s};
  DurableConfig config;
  fake::FakeMachine machine{kPages};
  fake::FakeDiskSink disk{kDiskBytes};
  fake::FakeCutWriter writer;
  std::unique_ptr<DurableImage> image;
  fake::DiskBytes expected_disk = fake::DiskBytes(kDiskBytes);
  std::map<Epoch, std::pair<fake::DiskBytes, fake::DiskBytes>> history;
};

TEST_F(DurableImageTest, TheFirstEpochAfterAFullTransferBecomesACut) {
  pass(5ms);
  settle();
  transfer(7);
  settle();
  ASSERT_TRUE(writer.usable());
  EXPECT_EQ(writer.stored->at, at(7));
  expect_consistent();
  EXPECT_EQ(image->status(now).durable, at(7));
  EXPECT_EQ(image->status(now).behind, Duration{});
}

TEST_F(DurableImageTest, NothingAboveTheCutReachesTheImage) {
  pass(5ms);
  settle();
  transfer(7);
  settle();
  const auto before = disk.image();
  write_disk(3, 9);
  commit(8);
  EXPECT_EQ(disk.image(), before);
  pass(config.fold_every);
  EXPECT_EQ(disk.image(), before) << "the fold has begun, and is not committed";
  expect_consistent();
  settle();
  EXPECT_EQ(writer.stored->at, at(8));
  EXPECT_EQ(disk.image(), expected_disk);
  expect_consistent();
}

TEST_F(DurableImageTest, ACutIsOneEpochsMemoryHoweverMemoryGoesOn) {
  pass(5ms);
  settle();
  transfer(7);
  // The fold of epoch 7 is under way; the next epochs change the same pages.
  for (std::uint64_t epoch = 8; epoch < 12; ++epoch) {
    for (std::uint64_t page = 0; page < kPages; page += 3) write_page(page, static_cast<std::uint8_t>(page + epoch));
    image->target().zero_pages(PageIndex{50}, 3);
    commit(epoch);
    if (writer.waiting() > 0) writer.answer();
    pass(25ms);
  }
  settle();
  ASSERT_TRUE(writer.usable());
  EXPECT_EQ(writer.stored->at, at(7));
  expect_consistent();
  EXPECT_GT(image->status(now).saved_pages, 0u);
  pass(config.fold_every);
  settle();
  EXPECT_EQ(writer.stored->at, at(11));
  expect_consistent();
}

TEST_F(DurableImageTest, AFullTransferSpoilsTheCutBeforeItTouchesTheImage) {
  pass(5ms);
  settle();
  transfer(7);
  settle();
  const auto before = disk.image();
  image->overwritten(now);
  write_disk(5, 77);
  EXPECT_EQ(disk.image(), before);
  ASSERT_EQ(writer.spoils_waiting(), 1u);
  expect_consistent();
  writer.answer_spoil();
  EXPECT_FALSE(writer.usable());
  EXPECT_EQ(disk.image(), expected_disk);
  EXPECT_EQ(image->status(now).durable, CommittedEpoch{});
}

TEST_F(DurableImageTest, ASpoilingThatFailsFailsTheDisk) {
  pass(5ms);
  settle();
  transfer(7);
  settle();
  image->overwritten(now);
  write_disk(5, 77);
  EXPECT_EQ(image->disks()[0]->failure(), std::nullopt);
  writer.answer_spoil(Error{ErrorCode::kFailed, "no space"});
  ASSERT_TRUE(image->disks()[0]->failure());
  EXPECT_THAT(image->disks()[0]->failure()->text(), HasSubstr("no space"));
  expect_consistent();
  pass(config.retry_after);
  ASSERT_EQ(writer.spoils_waiting(), 1u);
  writer.answer_spoil();
  EXPECT_EQ(image->disks()[0]->failure(), std::nullopt);
}

TEST_F(DurableImageTest, ASpoilingThatHangsFailsTheDiskInTheEnd) {
  pass(5ms);
  settle();
  transfer(7);
  settle();
  image->overwritten(now);
  pass(config.give_up_after + 1ms);
  ASSERT_TRUE(image->disks()[0]->failure());
  EXPECT_THAT(image->disks()[0]->failure()->text(), HasSubstr("has not answered for 5001 ms"));
}

TEST_F(DurableImageTest, AStoreThatFailsKeepsTheOldCutAndIsTriedAgain) {
  pass(5ms);
  settle();
  transfer(7);
  settle();
  write_page(1, 3);
  write_disk(9, 3);
  commit(8);
  pass(config.fold_every);
  writer.answer(Error{ErrorCode::kFailed, "write pages: No space left on device"});
  EXPECT_THAT(image->status(now).trouble, HasSubstr("No space left"));
  EXPECT_EQ(image->status(now).failed_folds, 1u);
  settle();
  EXPECT_EQ(writer.stored->at, at(7));
  expect_consistent();
  pass(config.retry_after);
  settle();
  EXPECT_EQ(writer.stored->at, at(8));
  EXPECT_EQ(image->status(now).trouble, "");
  expect_consistent();
}

TEST_F(DurableImageTest, ACommitWhoseAnswerIsAnErrorMayHaveHappened) {
  pass(5ms);
  settle();
  transfer(7);
  settle();
  write_disk(9, 3);
  commit(8);
  pass(config.fold_every);
  writer.answer();  // the journal's
  image->tick(now);
  writer.answer(Error{ErrorCode::kFailed, "sync"}, true);
  ASSERT_EQ(writer.stored->at, at(8));
  EXPECT_EQ(image->status(now).failed_folds, 1u);
  expect_consistent();
  // Whichever it is: nothing goes to the image before the cut is spoiled, or another one is committed.
  const auto before = disk.image();
  image->overwritten(now);
  write_disk(5, 77);
  EXPECT_EQ(disk.image(), before);
  expect_consistent();
  writer.answer_spoil();
  EXPECT_FALSE(writer.usable());
}

TEST_F(DurableImageTest, MoreWritesThanThereIsRoomForGiveTheCutUpButStallNoGuest) {
  pass(5ms);
  settle();
  transfer(7);
  settle();
  for (std::uint64_t epoch = 8; epoch < 48; ++epoch) {
    write_disk(epoch, static_cast<std::uint8_t>(epoch), 2);
    commit(epoch);
  }
  EXPECT_GT(image->disks()[0]->backlog_bytes(), config.max_waiting_bytes);
  EXPECT_EQ(writer.spoils_waiting(), 0u) << "a burst may wait for as long as the budget";
  pass(1ms);
  pass(config.budget + 1ms);
  ASSERT_EQ(writer.spoils_waiting(), 1u);
  expect_consistent();
  writer.answer_spoil();
  EXPECT_EQ(disk.image(), expected_disk);
  EXPECT_EQ(image->disks()[0]->backlog_bytes(), 0u);
  // It heals: what is stored goes, and a cut is made anew.
  pass(config.retry_after);
  settle();
  pass(config.fold_every);
  settle();
  ASSERT_TRUE(writer.usable());
  EXPECT_EQ(writer.stored->at, at(47));
  expect_consistent();
}

TEST_F(DurableImageTest, AnAckWaitsForTheCutWithDurabilityDisk) {
  config.ack_when_durable = true;
  make();
  pass(5ms);
  settle();
  transfer(7);
  EXPECT_TRUE(image->may_ack(at(7))) << "no cut yet: acks mean memory";
  EXPECT_FALSE(image->status(now).acks_are_durable);
  settle();
  EXPECT_TRUE(image->status(now).acks_are_durable);
  write_page(3, 9);
  commit(8);
  commit(9);
  EXPECT_FALSE(image->may_ack(at(8)));
  settle();
  EXPECT_TRUE(image->may_ack(at(9)));
  EXPECT_EQ(writer.stored->at, at(9));
  expect_consistent();
}

TEST_F(DurableImageTest, AnAckWaitsNoLongerThanTheBudget) {
  config.ack_when_durable = true;
  make();
  pass(5ms);
  settle();
  transfer(7);
  settle();
  commit(8);
  pass(config.budget);
  EXPECT_FALSE(image->may_ack(at(8)));
  pass(1ms);
  EXPECT_TRUE(image->may_ack(at(8)));
  EXPECT_FALSE(image->status(now).acks_are_durable);
  settle();
  commit(9);
  settle();
  EXPECT_TRUE(image->status(now).acks_are_durable) << "the cut has caught up";
}

TEST_F(DurableImageTest, AStoreThatHangsIsGivenUpAndHoldsNothing) {
  pass(5ms);
  settle();
  transfer(7);
  settle();
  write_page(1, 3);
  commit(8);
  pass(config.fold_every);
  ASSERT_GT(writer.waiting(), 0u);
  pass(config.give_up_after + 1ms);
  EXPECT_THAT(image->status(now).trouble, HasSubstr("has not answered"));
  const std::size_t waiting = writer.waiting();
  for (std::uint64_t epoch = 9; epoch < 100; ++epoch) {
    write_page(1, static_cast<std::uint8_t>(epoch));
    commit(epoch);
    pass(1s);
  }
  EXPECT_EQ(writer.waiting(), waiting) << "a store that owes answers is asked nothing more";
  settle();
  pass(config.retry_after);
  settle();
  EXPECT_EQ(writer.stored->at, at(99));
  expect_consistent();
}

TEST_F(DurableImageTest, ATakeoverHasEveryCommittedWrite) {
  pass(5ms);
  settle();
  transfer(7);
  settle();
  write_disk(3, 9);
  commit(8);
  pass(config.fold_every);
  write_disk(3, 10);
  write_disk(4, 11);
  commit(9);
  image->end();
  EXPECT_EQ(disk.image(), expected_disk);
}

TEST_F(DurableImageTest, ARaisedTermMakesACutOfThatTerm) {
  pass(5ms);
  settle();
  transfer(7);
  settle();
  const auto state = std::make_shared<std::vector<std::byte>>(8, std::byte{7});
  image->committed({Term{6}, Epoch{7}}, OwnedBytes{*state, state}, {}, now);
  pass(config.fold_every);
  settle();
  EXPECT_EQ(writer.stored->at, (CommittedEpoch{Term{6}, Epoch{7}}));
}

TEST_F(DurableImageTest, MemoryThatAnotherHandMadeIsTakenWhole) {
  // The machine's guest wrote it before: not through target().
  for (std::uint64_t page = 0; page < kPages; ++page) std::ranges::fill(machine.page_for_writing(PageIndex{page}), std::byte{0x42});
  machine.zero_pages(PageIndex{10}, 5);
  pass(5ms);
  settle();
  history[Epoch{4}] = {{machine.memory().begin(), machine.memory().end()}, expected_disk};
  const auto state = std::make_shared<std::vector<std::byte>>(8, std::byte{4});
  image->adopted(at(4), OwnedBytes{*state, state}, now);
  settle();
  ASSERT_TRUE(writer.usable());
  expect_consistent();
  EXPECT_FALSE(machine.holds(PageIndex{12})) << "a page without memory is not read";
}

// Any order of epochs, transfers, answers, errors and time: what a power loss leaves at any moment is one epoch, or nothing is left to
// start from and the store knows.
TEST_F(DurableImageTest, WhateverHappensTheCutIsConsistent) {
  for (unsigned seed = 1; seed <= 15; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random{seed};
    const auto roll = [&](unsigned sides) { return static_cast<unsigned>(random() % sides); };
    machine.zero_pages(PageIndex{0}, kPages);
    disk.set_stuck(false);
    disk.image() = fake::DiskBytes(kDiskBytes);
    expected_disk = disk.image();
    disk.sync();
    writer = fake::FakeCutWriter{};
    history.clear();
    config.ack_when_durable = roll(2) == 0;
    config.fold_every = config.retry_after = 200ms;
    const bool narrow = roll(2) == 0;  // hardly any fold comes to its end
    config.max_saved_bytes = narrow ? 8 * kPageSizeBytes : std::size_t{64} << 20;
    config.max_waiting_bytes = narrow ? std::size_t{16} << 10 : std::size_t{1} << 20;
    make();
    std::uint64_t epoch = 1;
    bool whole = false;
    std::uint64_t cuts = 0;
    for (int step = 0; step < 400; ++step) {
      switch (roll(8)) {
        case 0:
        case 1:
        case 2:
          if (!whole) {
            transfer(epoch++);
            whole = true;
            break;
          }
          for (unsigned writes = roll(40); writes > 0; --writes) write_page(roll(kPages), static_cast<std::uint8_t>(roll(256)));
          if (roll(4) == 0) image->target().zero_pages(PageIndex{roll(kPages - 20)}, roll(20));
          for (unsigned writes = roll(4); writes > 0; --writes) {
            const unsigned sector = roll(120);
            write_disk(sector, static_cast<std::uint8_t>(roll(4)), 1 + roll(8));
          }
          commit(epoch++);
          break;
        case 3:
        case 4:
          for (unsigned calls = roll(12); calls > 0 && writer.waiting() > 0; --calls)
            writer.answer(roll(50) == 0 ? std::optional{Error{ErrorCode::kFailed, "EIO"}} : std::nullopt, roll(2) == 0);
          break;
        case 5:
          if (writer.spoils_waiting() > 0)
            writer.answer_spoil(roll(4) == 0 ? std::optional{Error{ErrorCode::kFailed, "EIO"}} : std::nullopt);
          break;
        case 6:
          pass(std::chrono::milliseconds{roll(roll(20) == 0 ? 6000 : 300)});
          break;
        case 7:
          if (roll(12) == 0) {
            image->overwritten(now);
            whole = false;
          } else if (roll(3) == 0) {
            disk.set_stuck(roll(4) == 0);
          }
          break;
      }
      if (writer.usable()) ++cuts;
      expect_consistent();
      if (HasFatalFailure()) return;
    }
    EXPECT_TRUE(narrow || cuts > 0);
    disk.set_stuck(false);
    image->end();
    ASSERT_TRUE(disk.image() == expected_disk) << "a takeover misses a write";
  }
}

}  // namespace
}  // namespace understudy
