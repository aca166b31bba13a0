// The disk's judge finds the record of each acknowledged change, and each way in which one can be missing.
#include "tests/lab/disk_log.h"

#include <filesystem>
#include <fstream>
#include <unistd.h>

#include <gtest/gtest.h>

#include "tests/guest/block_log.h"

namespace understudy::lab {
namespace {

constexpr std::uint64_t kSlots = 64;

class DiskLog : public testing::Test {
 protected:
  // Changes 1 to `count`, each with its record on the disk.
  void write(std::uint64_t count) {
    std::vector<guest::BlockLogRecord> slots(kSlots, guest::BlockLogRecord{});
    for (std::uint64_t sequence = 1; sequence <= count; ++sequence) {
      AcknowledgedReply change{};
      change.request = {guest::kKvRequestMagic, 2, sequence, static_cast<std::uint32_t>(guest::KvOperation::kPut), 7, 100 + sequence};
      change.reply = {guest::kKvReplyMagic, 2, sequence, 0, 1, 100 + sequence, sequence, 9000 + sequence};
      replies_.push_back(change);
      auto& record = slots[guest::slot_of(sequence, kSlots)];
      record = {};
      record.sequence = sequence;
      record.boot = change.reply.boot_count;
      record.payload_words = 7;
      record.payload = {2, sequence, change.request.operation, 7, change.reply.value, sequence, change.reply.state_checksum};
      guest::seal(record);
    }
    std::ofstream file{image_, std::ios::binary};
    file.write(reinterpret_cast<const char*>(slots.data()), static_cast<std::streamsize>(slots.size() * sizeof slots[0]));
  }
  DiskLogFindings judge() {
    const auto findings = judge_disk_log(image_, kSlots, replies_);
    EXPECT_TRUE(findings) << findings.error().text();
    return findings.value_or(DiskLogFindings{});
  }
  void TearDown() override { std::filesystem::remove(image_); }

  const std::filesystem::path image_ = std::filesystem::temp_directory_path() / ("understudy-disk-log-" + std::to_string(::getpid()));
  std::vector<AcknowledgedReply> replies_;
};

TEST_F(DiskLog, EveryChangeIsThere) {
  write(20);
  replies_.push_back(replies_[3]);  // a repeated reply is one change
  EXPECT_EQ(judge().checked, 20U);
  EXPECT_EQ(judge().missing, 0U);
}

TEST_F(DiskLog, OnlyWhatTheRingStillHoldsIsAskedFor) {
  write(200);
  EXPECT_EQ(judge().checked, kSlots - guest::kLogMaxUnflushed);
  EXPECT_EQ(judge().missing, 0U);
}

TEST_F(DiskLog, AReadIsNoChange) {
  write(20);
  replies_[5].request.operation = static_cast<std::uint32_t>(guest::KvOperation::kGet);
  EXPECT_EQ(judge().checked, 19U);
}

TEST_F(DiskLog, ALostWriteIsFound) {
  write(20);
  replies_.push_back(replies_.back());
  replies_.back().reply.sequence = 21;
  EXPECT_EQ(judge().missing, 1U);
}

TEST_F(DiskLog, EachBootHasItsOwnSequences) {
  write(20);
  for (auto& reply : replies_) reply.reply.boot_count = 2;
  EXPECT_EQ(judge().missing, 20U) << "the records are another boot's";
}

TEST_F(DiskLog, AnotherContentIsFound) {
  write(20);
  replies_[4].reply.value ^= 1;
  EXPECT_EQ(judge().missing, 1U);
}

TEST_F(DiskLog, ADamagedRecordIsFound) {
  write(20);
  std::fstream file{image_, std::ios::binary | std::ios::in | std::ios::out};
  file.seekp(static_cast<std::streamoff>(5 * guest::kLogRecordBytes + 200));
  file.put('x');
  file.close();
  EXPECT_EQ(judge().missing, 1U);
}

TEST_F(DiskLog, AnImageThatIsTooShortIsRefused) {
  write(20);
  std::filesystem::resize_file(image_, 1000);
  EXPECT_FALSE(judge_disk_log(image_, kSlots, replies_));
  std::filesystem::remove(image_);
  EXPECT_FALSE(judge_disk_log(image_, kSlots, replies_));
}

}  // namespace
}  // namespace understudy::lab
