// The disks: order, stream, bounds, and what happens when the host fails or hangs. Real worker threads, a fake file.
#include <poll.h>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "replication/replicated_disk.h"
#include "replication/secondary_disk.h"
#include "tests/support/fake_block_file.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Bytes = std::vector<std::byte>;

class DiskTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kBytes = 64 << 10;
  DiskTest()
      : storage{std::make_shared<fake::FakeStorage>(kBytes)},
        image{DiskImage::start(std::make_unique<fake::FakeBlockFile>(storage), clock, 1ms)} {
    open({});
  }
  ~DiskTest() override { storage->release(); }

  void open(ReplicatedDiskConfig config) {
    disk.reset();
    disk = *ReplicatedDisk::create(image, config);
  }
  bool submit(BlockOperation operation, std::uint64_t offset, Bytes& memory, BlockCookie cookie) {
    const MutableBytes piece{memory};
    const bool flush = operation == BlockOperation::kFlush;
    return disk->submit({operation, offset, flush ? std::span<const MutableBytes>{} : std::span{&piece, 1}, cookie});
  }
  // Waits for the next `count` completions; fewer when ten seconds pass.
  std::vector<BlockCookie> reap(std::size_t count) {
    std::vector<BlockCookie> cookies;
    while (cookies.size() < count) {
      pollfd waiting{disk->completion_fd(), POLLIN, 0};
      if (::poll(&waiting, 1, 10'000) != 1) break;
      std::array<BlockCompletion, 2> some{};
      while (const std::size_t got = disk->reap(some))
        for (std::size_t i = 0; i < got; ++i) cookies.push_back(some[i].cookie);
    }
    return cookies;
  }

  const MonotonicClock clock;
  std::shared_ptr<fake::FakeStorage> storage;
  std::shared_ptr<DiskImage> image;
  std::unique_ptr<ReplicatedDisk> disk;
};

TEST_F(DiskTest, RequestsTakeEffectInTheOrderOfSubmission) {
  Bytes one = fake::filled(1024, 1), two = fake::filled(512, 2), read(1024);
  ASSERT_TRUE(submit(BlockOperation::kWrite, 512, one, 10));
  ASSERT_TRUE(submit(BlockOperation::kWrite, 1024, two, 11));  // overlaps
  ASSERT_TRUE(submit(BlockOperation::kRead, 512, read, 12));
  ASSERT_TRUE(submit(BlockOperation::kFlush, 0, read, 13));
  EXPECT_THAT(reap(4), ElementsAre(10, 11, 12, 13));
  EXPECT_THAT(storage->log(), ElementsAre("write 512", "write 1024", "read 512", "flush"));
  EXPECT_TRUE(std::equal(read.begin(), read.begin() + 512, one.begin()));
  EXPECT_TRUE(std::equal(read.begin() + 512, read.end(), two.begin()));
}

TEST_F(DiskTest, AWriteIsInTheStreamBeforeItsCompletionAndWithTheSubmittedBytes) {
  disk->start_stream();
  storage->hang();
  Bytes memory = fake::filled(512, 5);
  ASSERT_TRUE(submit(BlockOperation::kWrite, 2048, memory, 1));
  memory = fake::filled(512, 6);  // the guest goes on with its buffer
  const auto writes = disk->take_writes();
  ASSERT_EQ(writes.size(), 1U);
  EXPECT_EQ(writes[0].offset_bytes, 2048U);
  EXPECT_TRUE(std::ranges::equal(writes[0].data.bytes, fake::filled(512, 5)));
  storage->release();
  EXPECT_THAT(reap(1), ElementsAre(1));
  EXPECT_EQ(storage->image()[2048], std::byte{5});
  EXPECT_TRUE(disk->take_writes().empty());
}

TEST_F(DiskTest, WithoutAStreamNothingIsKept) {
  Bytes memory = fake::filled(512, 5);
  ASSERT_TRUE(submit(BlockOperation::kWrite, 0, memory, 1));
  EXPECT_TRUE(disk->take_writes().empty());
  EXPECT_EQ(disk->stats().unacked_bytes, 0U);
  disk->start_stream();
  ASSERT_TRUE(submit(BlockOperation::kWrite, 0, memory, 2));
  disk->stop_stream();
  EXPECT_TRUE(disk->take_writes().empty());
}

TEST_F(DiskTest, TheFdIsReadableOnlyWhileCompletionsWait) {
  Bytes memory = fake::filled(512, 1);
  std::array<BlockCompletion, 2> some{};
  for (BlockCookie cookie = 1; cookie <= 3; ++cookie) ASSERT_TRUE(submit(BlockOperation::kWrite, 0, memory, cookie));
  for (int tries = 0; image->evidence(clock.now()).completed < 3 && tries < 10'000; ++tries) std::this_thread::sleep_for(1ms);
  pollfd waiting{disk->completion_fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&waiting, 1, 10'000), 1);
  EXPECT_EQ(disk->reap(some), 2U);
  EXPECT_EQ(::poll(&waiting, 1, 0), 1);  // one is left
  EXPECT_EQ(disk->reap(some), 1U);
  EXPECT_EQ(::poll(&waiting, 1, 0), 0);  // a level-triggered loop sleeps now
}

TEST_F(DiskTest, UnackedBytesAreBoundedAndRoomIsSignalled) {
  open({.max_unacked_bytes = 1024});
  disk->start_stream();
  Bytes memory = fake::filled(512, 1), large = fake::filled(4096, 2);
  ASSERT_TRUE(submit(BlockOperation::kWrite, 0, memory, 1));
  ASSERT_TRUE(submit(BlockOperation::kWrite, 512, memory, 2));
  EXPECT_FALSE(disk->blocked());
  EXPECT_FALSE(submit(BlockOperation::kWrite, 1024, memory, 3));
  EXPECT_TRUE(disk->blocked());
  ASSERT_TRUE(submit(BlockOperation::kRead, 0, memory, 4));  // reads pass
  EXPECT_EQ(reap(3).size(), 3U);
  disk->release(1024);
  pollfd room{disk->completion_fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&room, 1, 10'000), 1);
  EXPECT_TRUE(submit(BlockOperation::kWrite, 0, large, 5));  // alone, even a larger one passes
  EXPECT_FALSE(submit(BlockOperation::kWrite, 0, memory, 6));
  EXPECT_EQ(disk->stats().refused_unacked, 2U);
}

TEST_F(DiskTest, AWriteLongerThanTheWireAllowsTravelsInPieces) {
  storage = std::make_shared<fake::FakeStorage>(std::size_t{20} << 20);
  image = DiskImage::start(std::make_unique<fake::FakeBlockFile>(storage), clock, 1ms);
  open({});
  disk->start_stream();
  Bytes memory = fake::filled(std::size_t{kMaxDiskWriteBytes} + 512, 9);
  ASSERT_TRUE(submit(BlockOperation::kWrite, 512, memory, 1));
  const auto writes = disk->take_writes();
  ASSERT_EQ(writes.size(), 2U);
  EXPECT_EQ(writes[0].length_bytes, kMaxDiskWriteBytes);
  EXPECT_EQ(writes[1].offset_bytes, 512U + kMaxDiskWriteBytes);
  EXPECT_EQ(writes[1].length_bytes, 512U);
  EXPECT_EQ(reap(1).size(), 1U);
}

TEST_F(DiskTest, BytesOnTheirWayToTheImageAreBounded) {
  open({.max_queued_bytes = 1024});
  storage->hang();
  Bytes memory = fake::filled(512, 1), large = fake::filled(4096, 2);
  ASSERT_TRUE(submit(BlockOperation::kWrite, 0, memory, 1));
  ASSERT_TRUE(submit(BlockOperation::kWrite, 0, memory, 2));
  EXPECT_FALSE(submit(BlockOperation::kWrite, 0, memory, 3));
  ASSERT_TRUE(submit(BlockOperation::kRead, 0, memory, 4)) << "reads copy nothing";
  storage->release();
  EXPECT_EQ(reap(3).size(), 3U);
  EXPECT_TRUE(submit(BlockOperation::kWrite, 0, large, 5)) << "alone, even a larger one passes";
  EXPECT_EQ(reap(1).size(), 1U);
}

TEST_F(DiskTest, AStableWriteIsFollowedByAFlush) {
  Bytes memory = fake::filled(512, 1);
  const MutableBytes piece{memory};
  ASSERT_TRUE(disk->submit(
      {.operation = BlockOperation::kWrite, .offset_bytes = 512, .memory = std::span{&piece, 1}, .cookie = 1, .stable = true}));
  EXPECT_EQ(reap(1).size(), 1U);
  EXPECT_THAT(storage->log(), ElementsAre("write 512", "flush"));
}

TEST_F(DiskTest, AHostErrorIsNeverCompletedAndIsTriedAgainInItsPlace) {
  std::mutex mutex;
  std::vector<std::string> told;
  image->on_error([&](const Error& error) {
    const std::lock_guard lock{mutex};
    told.push_back(error.text());
  });
  storage->fail_with("Input/output error (EIO)");
  Bytes memory = fake::filled(512, 1), other = fake::filled(512, 2);
  ASSERT_TRUE(submit(BlockOperation::kWrite, 0, memory, 1));
  ASSERT_TRUE(submit(BlockOperation::kWrite, 0, other, 2));
  ASSERT_TRUE(storage->wait_for_operations(3));  // tried again, and again
  std::array<BlockCompletion, 4> completions{};
  EXPECT_EQ(disk->reap(completions), 0U);
  const DiskEvidence evidence = disk->evidence(clock.now());
  EXPECT_EQ(evidence.outstanding, 2U);
  EXPECT_TRUE(evidence.failing);
  EXPECT_GE(evidence.errors, 1U);
  EXPECT_GT(evidence.oldest_age, Duration{});
  EXPECT_THAT(evidence.last_error, HasSubstr("write 0: Input/output error"));
  storage->fail_with(std::nullopt);
  EXPECT_THAT(reap(2), ElementsAre(1, 2));
  EXPECT_EQ(storage->image()[0], std::byte{2});
  EXPECT_FALSE(disk->evidence(clock.now()).failing);
  const std::lock_guard lock{mutex};
  EXPECT_FALSE(told.empty());
}

TEST_F(DiskTest, AFailedFlushIsNeverMadeGoodByALaterOne) {
  storage->fail_with("Input/output error (EIO)");
  Bytes memory = fake::filled(512, 1);
  ASSERT_TRUE(submit(BlockOperation::kFlush, 0, memory, 1));
  ASSERT_TRUE(storage->wait_for_operations(1));
  while (disk->evidence(clock.now()).errors == 0) std::this_thread::yield();
  storage->fail_with(std::nullopt);
  ASSERT_TRUE(submit(BlockOperation::kFlush, 0, memory, 2));
  std::this_thread::sleep_for(20ms);
  std::array<BlockCompletion, 4> completions{};
  EXPECT_EQ(disk->reap(completions), 0U);
  EXPECT_TRUE(disk->evidence(clock.now()).failing);
  EXPECT_EQ(storage->log().size(), 1U);
}

TEST_F(DiskTest, AHangShowsAsAgeAndAbandonIsBounded) {
  storage->hang();
  Bytes memory = fake::filled(512, 1);
  ASSERT_TRUE(submit(BlockOperation::kRead, 0, memory, 1));
  ASSERT_TRUE(submit(BlockOperation::kRead, 512, memory, 2));
  ASSERT_TRUE(storage->wait_for_operations(1));
  EXPECT_EQ(disk->evidence(clock.now()).outstanding, 2U);
  EXPECT_GE(disk->evidence(clock.now() + 5s).oldest_age, 5s);
  EXPECT_FALSE(disk->abandon_in_flight(10ms));  // the first read is in the kernel
  storage->release();
  EXPECT_TRUE(disk->abandon_in_flight(10s));
  std::array<BlockCompletion, 4> completions{};
  EXPECT_EQ(disk->reap(completions), 0U);
  EXPECT_EQ(storage->log().size(), 1U);  // the second never went out
}

TEST_F(DiskTest, AbandonedWritesStillReachTheImage) {
  storage->hang();
  Bytes memory = fake::filled(512, 7);
  ASSERT_TRUE(submit(BlockOperation::kRead, 0, memory, 1));
  ASSERT_TRUE(submit(BlockOperation::kWrite, 1024, memory, 2));
  ASSERT_TRUE(storage->wait_for_operations(1));
  EXPECT_FALSE(disk->abandon_in_flight(1ms));
  storage->release();
  ASSERT_TRUE(storage->wait_for_operations(2));
  while (image->evidence(clock.now()).outstanding != 0) std::this_thread::yield();
  EXPECT_EQ(storage->image()[1024], std::byte{7});  // it was in the stream: the images must not part
  std::array<BlockCompletion, 4> completions{};
  EXPECT_EQ(disk->reap(completions), 0U);
}

TEST_F(DiskTest, ChunksComeAfterTheWritesBeforeThemAndZerosAsZeros) {
  Bytes memory = fake::filled(512, 3);
  ASSERT_TRUE(submit(BlockOperation::kWrite, 4096, memory, 1));
  const auto chunk_at = [&](std::uint64_t offset) {
    disk->request_chunk(offset, 4096);
    std::optional<std::vector<DiskWrite>> chunk;
    while (!(chunk = disk->poll_chunk())) std::this_thread::yield();
    return *chunk;
  };
  const auto written = chunk_at(4096);
  ASSERT_EQ(written.size(), 1U);
  EXPECT_FALSE(written[0].zeros);
  EXPECT_EQ(written[0].data.bytes[0], std::byte{3});
  EXPECT_EQ(written[0].length_bytes, 4096U);
  const auto empty = chunk_at(8192);
  ASSERT_EQ(empty.size(), 1U);
  EXPECT_TRUE(empty[0].zeros);
  EXPECT_TRUE(empty[0].data.bytes.empty());
  EXPECT_FALSE(disk->poll_chunk());
}

TEST_F(DiskTest, AfterATakeoverReadsSeeEveryCommittedWrite) {
  SecondaryDisk secondary{image};
  storage->fill(std::byte{9});
  storage->hang();
  const auto data = std::make_shared<Bytes>(fake::filled(512, 4));
  secondary.apply({.disk = 0, .offset_bytes = 0, .length_bytes = 512, .zeros = false, .data = {*data, data}});
  secondary.apply({.disk = 0, .offset_bytes = 512, .length_bytes = 512, .zeros = true, .data = {}});
  EXPECT_EQ(secondary.backlog_bytes(), 512U + sizeof(DiskWrite)) << "zeros are an extent, whatever its length";
  Bytes read(1024);
  ASSERT_TRUE(submit(BlockOperation::kRead, 0, read, 1));  // the guest, running here now
  storage->release();
  EXPECT_THAT(reap(1), ElementsAre(1));
  EXPECT_EQ(read[0], std::byte{4});
  EXPECT_EQ(read[512], std::byte{0});
  EXPECT_EQ(secondary.backlog_bytes(), 0U);
  EXPECT_FALSE(secondary.failure());
}

TEST_F(DiskTest, SecondaryNamesItsDisksFailure) {
  SecondaryDisk secondary{image};
  storage->fail_with("No space left on device (ENOSPC)");
  secondary.apply({.disk = 0, .offset_bytes = 512, .length_bytes = 512, .zeros = true, .data = {}});
  ASSERT_TRUE(storage->wait_for_operations(2));
  ASSERT_TRUE(secondary.failure());
  EXPECT_THAT(secondary.failure()->text(), HasSubstr("ENOSPC"));
  EXPECT_EQ(secondary.backlog_bytes(), sizeof(DiskWrite));
}

TEST_F(DiskTest, DestructionDoesNotWaitForAStuckHost) {
  storage->hang();
  Bytes memory = fake::filled(512, 1);
  ASSERT_TRUE(submit(BlockOperation::kWrite, 0, memory, 1));
  ASSERT_TRUE(storage->wait_for_operations(1));
  disk.reset();
  image.reset();  // the worker stays behind until the host answers
  storage->release();
}

}  // namespace
}  // namespace understudy
