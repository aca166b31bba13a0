// Several requests at the host at once: what waits for what, and that no order of completions shows. A host that the test steers.
#include <map>
#include <poll.h>
#include <random>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "replication/disk_window.h"
#include "replication/replicated_disk.h"
#include "replication/secondary_disk.h"
#include "tests/support/fake_block_io.h"
#include "tests/support/fake_disk.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;
using Bytes = std::vector<std::byte>;
using Task = DiskTask::Kind;

TEST(DiskWindow, WhatMustWait) {
  const struct {
    const char* name;
    DiskTask earlier, later;
    bool waits;
  } cases[] = {
      {"reads of the same", {.kind = Task::kRead, .length_bytes = 512}, {.kind = Task::kRead, .length_bytes = 512}, false},
      {"read after write", {.kind = Task::kWrite, .length_bytes = 512}, {.kind = Task::kRead, .length_bytes = 512}, true},
      {"write after read", {.kind = Task::kRead, .length_bytes = 512}, {.kind = Task::kWrite, .length_bytes = 512}, true},
      {"write after write", {.kind = Task::kWrite, .length_bytes = 512}, {.kind = Task::kWrite, .length_bytes = 512}, true},
      {"neighbours", {.kind = Task::kWrite, .length_bytes = 512}, {.kind = Task::kWrite, .offset_bytes = 512, .length_bytes = 512}, false},
      {"one sector shared",
       {.kind = Task::kWrite, .length_bytes = 1024},
       {.kind = Task::kZeros, .offset_bytes = 512, .length_bytes = 4096},
       true},
      {"read of zeros",
       {.kind = Task::kZeros, .length_bytes = 4096},
       {.kind = Task::kRead, .offset_bytes = 512, .length_bytes = 512},
       true},
      {"flush after write", {.kind = Task::kWrite, .length_bytes = 512}, {.kind = Task::kFlush}, true},
      {"flush after zeros", {.kind = Task::kZeros, .length_bytes = 512}, {.kind = Task::kFlush}, true},
      {"flush after read", {.kind = Task::kRead, .length_bytes = 512}, {.kind = Task::kFlush}, false},
      {"write after flush", {.kind = Task::kFlush}, {.kind = Task::kWrite, .length_bytes = 512}, false},
      {"look for data in what is written",
       {.kind = Task::kWrite, .offset_bytes = 8192, .length_bytes = 512},
       {.kind = Task::kNextData, .length_bytes = 1 << 20},
       true},
  };
  for (const auto& each : cases) EXPECT_EQ(must_wait(each.later, each.earlier), each.waits) << each.name;
}

TEST(DiskWindow, ATaskIsReadyWhenTheLastThatItWaitsForIsGone) {
  DiskWindow window{4};
  window.add({.kind = Task::kWrite, .offset_bytes = 0, .length_bytes = 1024}, Instant{});
  window.add({.kind = Task::kWrite, .offset_bytes = 4096, .length_bytes = 512}, Instant{});
  window.add({.kind = Task::kRead, .offset_bytes = 512, .length_bytes = 4096}, Instant{});
  window.add({.kind = Task::kFlush}, Instant{});
  ASSERT_TRUE(window.full());
  const std::vector<unsigned> slots{window.order().begin(), window.order().end()};
  const auto ready = [&](unsigned nth) { return window.ready(window.at(slots[nth]), Instant{}); };
  EXPECT_TRUE(ready(0) && ready(1));
  EXPECT_FALSE(ready(2) || ready(3));
  window.remove(slots[1]);
  EXPECT_FALSE(ready(2) || ready(3));
  window.remove(slots[0]);
  EXPECT_TRUE(ready(2) && ready(3));
  window.add({.kind = Task::kZeros, .offset_bytes = 512, .length_bytes = 512}, Instant{});
  EXPECT_FALSE(window.ready(window.at(window.order().back()), Instant{})) << "it waits for the read";
}

class DiskOrderTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kBytes = 64 << 10;
  DiskOrderTest() { open({}); }
  ~DiskOrderTest() override { host->run(1, 0); }

  void open(ReplicatedDiskConfig config) {
    disk.reset();
    disk = *ReplicatedDisk::create(image, config);
  }
  bool submit(BlockOperation operation, std::uint64_t offset, MutableBytes piece, BlockCookie cookie) {
    const bool flush = operation == BlockOperation::kFlush;
    return disk->submit({operation, offset, flush ? std::span<const MutableBytes>{} : std::span{&piece, 1}, cookie});
  }
  std::vector<BlockCookie> reap(std::size_t count) {
    std::vector<BlockCookie> cookies;
    while (cookies.size() < count) {
      pollfd waiting{disk->completion_fd(), POLLIN, 0};
      if (::poll(&waiting, 1, 10'000) != 1) break;
      std::array<BlockCompletion, 8> some{};
      while (const std::size_t got = disk->reap(some))
        for (std::size_t i = 0; i < got; ++i) cookies.push_back(some[i].cookie);
    }
    return cookies;
  }

  const MonotonicClock clock;
  std::shared_ptr<fake::FakeHost> host = std::make_shared<fake::FakeHost>(kBytes);
  std::shared_ptr<DiskImage> image = DiskImage::start(std::make_unique<fake::FakeBlockIo>(host, 8), clock, 1ms);
  std::unique_ptr<ReplicatedDisk> disk;
  Bytes sector = Bytes(512, std::byte{1});
};

TEST_F(DiskOrderTest, IndependentRequestsAreAtTheHostTogetherAndCompleteInItsOrder) {
  Bytes other(512), read(512);
  ASSERT_TRUE(submit(BlockOperation::kWrite, 0, sector, 1));
  ASSERT_TRUE(submit(BlockOperation::kWrite, 512, other, 2));
  ASSERT_TRUE(submit(BlockOperation::kRead, 0, read, 3));
  ASSERT_TRUE(submit(BlockOperation::kFlush, 0, {}, 4));
  ASSERT_TRUE(submit(BlockOperation::kRead, 4096, other, 5));
  ASSERT_TRUE(host->wait_for({"write 0", "write 512", "read 4096"}));
  host->complete("read 4096");
  EXPECT_THAT(reap(1), ElementsAre(5));
  host->complete("write 512");
  EXPECT_THAT(reap(1), ElementsAre(2));
  EXPECT_THAT(host->waiting(), ElementsAre("write 0")) << "the flush covers it, the read sees it";
  host->complete("write 0");
  ASSERT_TRUE(host->wait_for({"read 0", "flush"}));
  host->complete("read 0");
  host->complete("flush");
  EXPECT_THAT(reap(3), UnorderedElementsAre(1, 3, 4));
  EXPECT_EQ(read, sector);
}

TEST_F(DiskOrderTest, AFailingRequestHoldsWhatTouchesItAndNothingElse) {
  Bytes read(512), other(512);
  ASSERT_TRUE(submit(BlockOperation::kWrite, 0, sector, 1));
  ASSERT_TRUE(host->wait_for({"write 0"}));
  host->complete("write 0", "No space left on device (ENOSPC)");
  ASSERT_TRUE(submit(BlockOperation::kRead, 0, read, 2));
  ASSERT_TRUE(submit(BlockOperation::kWrite, 8192, other, 3));
  ASSERT_TRUE(host->wait_for({"write 0", "write 8192"}));  // tried again, beside the other
  host->complete("write 8192");
  EXPECT_THAT(reap(1), ElementsAre(3));
  const DiskEvidence evidence = disk->evidence(clock.now());
  EXPECT_TRUE(evidence.failing);
  EXPECT_THAT(evidence.last_error, HasSubstr("write 0: No space left on device"));
  EXPECT_EQ(evidence.outstanding, 2U);
  host->complete("write 0");
  ASSERT_TRUE(host->wait_for({"read 0"}));
  EXPECT_FALSE(disk->evidence(clock.now()).failing);
  host->complete("read 0");
  EXPECT_THAT(reap(2), UnorderedElementsAre(1, 2));
  EXPECT_EQ(read, sector);
}

TEST_F(DiskOrderTest, AfterAFailedFlushNothingGoesToTheImage) {
  Bytes other(512);
  ASSERT_TRUE(submit(BlockOperation::kFlush, 0, {}, 1));
  ASSERT_TRUE(submit(BlockOperation::kWrite, 0, sector, 2));
  ASSERT_TRUE(host->wait_for({"flush", "write 0"}));
  host->complete("flush", "Input/output error (EIO)");
  while (!disk->evidence(clock.now()).failing) std::this_thread::yield();
  ASSERT_TRUE(submit(BlockOperation::kRead, 4096, other, 3));
  ASSERT_TRUE(submit(BlockOperation::kFlush, 0, {}, 4));
  host->complete("write 0");  // it was under way, and promises nothing of the medium
  EXPECT_THAT(reap(1), ElementsAre(2));
  EXPECT_THAT(host->waiting(), ElementsAre());
  EXPECT_EQ(disk->evidence(clock.now()).outstanding, 3U);
}

TEST_F(DiskOrderTest, AbandonedRequestsAreDroppedOrCarriedOutAndNeverAnswered) {
  Bytes read(512), other(512);
  ASSERT_TRUE(submit(BlockOperation::kRead, 0, read, 1));
  ASSERT_TRUE(submit(BlockOperation::kWrite, 0, sector, 2));  // waits for the read
  ASSERT_TRUE(submit(BlockOperation::kWrite, 4096, sector, 3));
  ASSERT_TRUE(submit(BlockOperation::kRead, 4096, other, 4));  // waits for the write
  ASSERT_TRUE(host->wait_for({"read 0", "write 4096"}));
  EXPECT_FALSE(disk->abandon_in_flight(1ms)) << "a read is with the host, and may still fill its memory";
  host->complete("read 0", "Input/output error (EIO)");
  ASSERT_TRUE(host->wait_for({"write 0", "write 4096"})) << "not tried again";
  EXPECT_TRUE(disk->abandon_in_flight(10s));
  host->complete("write 0");
  host->complete("write 4096");
  while (image->evidence(clock.now()).outstanding != 0) std::this_thread::yield();
  EXPECT_EQ(host->image()[0], std::byte{1});
  EXPECT_EQ(host->image()[4096], std::byte{1});
  EXPECT_FALSE(disk->evidence(clock.now()).failing);
  std::array<BlockCompletion, 4> completions{};
  EXPECT_EQ(disk->reap(completions), 0U);
  ASSERT_TRUE(submit(BlockOperation::kRead, 0, read, 5));  // the device goes on
  ASSERT_TRUE(host->wait_for({"read 0"}));
  host->complete("read 0");
  EXPECT_THAT(reap(1), ElementsAre(5));
}

TEST_F(DiskOrderTest, MoreThanTheHostTakesWaitsInOrder) {
  std::vector<std::string> first;
  for (unsigned i = 0; i < 20; ++i) {
    ASSERT_TRUE(submit(BlockOperation::kWrite, i * 512, sector, i));
    if (i < 8) first.push_back("write " + std::to_string(i * 512));
  }
  ASSERT_TRUE(host->wait_for(first));
  EXPECT_EQ(image->evidence(clock.now()).outstanding, 20U);
  host->run(3, 0);
  EXPECT_EQ(reap(20).size(), 20U);
}

TEST_F(DiskOrderTest, AStuckRequestShowsThoughOthersPass) {
  Bytes other(512);
  ASSERT_TRUE(submit(BlockOperation::kWrite, 0, sector, 1));
  ASSERT_TRUE(submit(BlockOperation::kWrite, 512, other, 2));
  ASSERT_TRUE(host->wait_for({"write 0", "write 512"}));
  const Instant before = clock.now();
  host->complete("write 512");
  EXPECT_THAT(reap(1), ElementsAre(2));
  const DiskEvidence evidence = disk->evidence(before + 5s);
  EXPECT_EQ(evidence.outstanding, 1U);
  EXPECT_GE(evidence.oldest_age, 5s);
  EXPECT_GT(evidence.longest_at_host, 4s);
  EXPECT_LE(evidence.since_progress, 5s) << "counted from the other's completion";
}

TEST_F(DiskOrderTest, ZerosGoIntoImageAndStreamAsTheSameExtents) {
  constexpr std::uint64_t kLong = std::uint64_t{kMaxDiskZerosBytes} + 1024;
  disk.reset();
  image.reset();  // the host's wake-ups are for one worker
  image = DiskImage::start(std::make_unique<fake::FakeBlockIo>(host, 8, false, 2 * kLong), clock, 1ms);
  open({.max_unacked_bytes = 4 * sizeof(DiskWrite)});
  disk->start_stream();
  const std::array extents{BlockExtent{512, 1024}, BlockExtent{4096, kLong}};
  const auto zero = [&](BlockCookie cookie) {
    return disk->submit({.operation = BlockOperation::kZeros, .offset_bytes = 0, .memory = {}, .cookie = cookie, .extents = extents});
  };
  ASSERT_TRUE(zero(5));
  const std::string rest = "zeros " + std::to_string(4096 + kMaxDiskZerosBytes);
  ASSERT_TRUE(host->wait_for({"zeros 512", "zeros 4096", rest}));
  const auto writes = disk->take_writes();
  ASSERT_EQ(writes.size(), 3U);
  EXPECT_EQ(writes[1].length_bytes, kMaxDiskZerosBytes);
  for (const DiskWrite& write : writes) EXPECT_TRUE(write.zeros && write.data.bytes.empty());
  EXPECT_EQ(disk->stats().unacked_bytes, 3 * sizeof(DiskWrite));
  EXPECT_FALSE(zero(6)) << "extents are bounded like bytes";
  host->complete(rest);
  host->complete("zeros 512");
  host->complete("zeros 4096");
  EXPECT_THAT(reap(1), ElementsAre(5)) << "one answer, when all of it is done";
  disk->release(3 * sizeof(DiskWrite));
  EXPECT_TRUE(zero(6));
  host->run(1, 0);
  EXPECT_THAT(reap(1), ElementsAre(6));
}

TEST_F(DiskOrderTest, SpaceIsKeptAndStorageStableWhereAsked) {
  const BlockExtent extent{4096, 4096};
  ASSERT_TRUE(disk->submit({.operation = BlockOperation::kZeros,
                            .offset_bytes = 0,
                            .memory = {},
                            .cookie = 1,
                            .extents = std::span{&extent, 1},
                            .keep_space = true,
                            .stable = true}));
  ASSERT_TRUE(host->wait_for({"zeros 4096"}));
  EXPECT_TRUE(host->latest().keep_space && host->latest().stable);
  host->complete("zeros 4096");
  EXPECT_EQ(reap(1).size(), 1U);
}

// Whatever the host's order and failures: every read sees what was submitted before it, and image and stream end alike.
TEST_F(DiskOrderTest, NoOrderOfCompletionsShows) {
  std::mt19937_64 random{20};
  Bytes model(kBytes), peer(kBytes);
  open({.max_queued_requests = 32});
  disk->start_stream();
  host->run(7, 5);
  std::map<BlockCookie, std::pair<Bytes, Bytes>> reads;  // memory, and what it must hold
  unsigned in_flight = 0;
  const auto take_some = [&](std::size_t at_least) {
    for (const BlockCookie cookie : reap(at_least)) {
      --in_flight;
      const auto read = reads.find(cookie);
      if (read == reads.end()) continue;
      EXPECT_EQ(read->second.first, read->second.second) << "read " << cookie;
      reads.erase(read);
    }
  };
  for (BlockCookie cookie = 0; cookie < 4000; ++cookie) {
    while (in_flight == 32) take_some(1);
    const std::uint64_t offset = 512 * (random() % 24);
    const std::size_t length = 512 * (1 + random() % 8);
    const auto at = static_cast<std::ptrdiff_t>(offset);
    switch (random() % 8) {
      case 0:
        ASSERT_TRUE(submit(BlockOperation::kFlush, 0, {}, cookie));
        break;
      case 1: {
        const BlockExtent extent{offset, length};
        std::fill_n(model.begin() + at, length, std::byte{0});
        ASSERT_TRUE(disk->submit(
            {.operation = BlockOperation::kZeros, .offset_bytes = 0, .memory = {}, .cookie = cookie, .extents = std::span{&extent, 1}}));
        break;
      }
      case 2:
      case 3:
      case 4: {
        auto& [memory, expected] = reads[cookie];
        memory.resize(length);
        expected.assign(model.begin() + at, model.begin() + at + static_cast<std::ptrdiff_t>(length));
        ASSERT_TRUE(submit(BlockOperation::kRead, offset, memory, cookie));
        break;
      }
      default: {
        Bytes bytes(length, static_cast<std::byte>(random()));
        std::ranges::copy(bytes, model.begin() + at);
        ASSERT_TRUE(submit(BlockOperation::kWrite, offset, bytes, cookie));
      }
    }
    ++in_flight;
    if (cookie % 16 == 0)
      for (const DiskWrite& write : disk->take_writes()) fake::write_into(peer, write);
  }
  while (in_flight > 0) take_some(1);
  for (const DiskWrite& write : disk->take_writes()) fake::write_into(peer, write);
  EXPECT_TRUE(reads.empty());
  EXPECT_EQ(host->image(), model);
  EXPECT_EQ(peer, model);
  EXPECT_GT(disk->evidence(clock.now()).errors, 0U);
}

}  // namespace
}  // namespace understudy
