// A folder on storage that ails on command, as a host's programs see it: files, direct I/O, io_uring, and each state. Runs inside
// tests/lab/lab, whose end takes the mounts along.
#include "tests/lab/lab_storage.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <liburing.h>
#include <string>
#include <thread>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/base/unique_fd.h"

namespace understudy::lab {
namespace {

constexpr std::size_t kBlockBytes = 4096;

class LabStorageTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* const scratch = std::getenv("LAB_DIR");
    ASSERT_NE(scratch, nullptr) << "runs inside tests/lab/lab";
    folder_ = std::filesystem::path{scratch} / testing::UnitTest::GetInstance()->current_test_info()->name();
    auto started = LabStorage::start(clock_, std::filesystem::read_symlink("/proc/self/exe").parent_path(), folder_);
    ASSERT_TRUE(started) << started.error().text();
    storage_ = std::move(*started);
    block_.reset(static_cast<char*>(std::aligned_alloc(kBlockBytes, kBlockBytes)));
  }
  void order(StorageState state) {
    const auto done = storage_->order(state);
    ASSERT_TRUE(done) << done.error().text();
  }
  UniqueFd open_direct(int flags = O_RDWR | O_CREAT) {
    UniqueFd file{::open((folder_ / "disk").c_str(), flags | O_DIRECT | O_CLOEXEC, 0600)};
    EXPECT_TRUE(file) << std::strerror(errno);
    return file;
  }
  // The result of the operation, or its errno as a negative number.
  int write_block(const UniqueFd& file, char fill) {
    std::fill_n(block_.get(), kBlockBytes, fill);
    const auto count = ::pwrite(file.get(), block_.get(), kBlockBytes, 0);
    return count < 0 ? -errno : static_cast<int>(count);
  }
  int read_block(const UniqueFd& file) {
    const auto count = ::pread(file.get(), block_.get(), kBlockBytes, 0);
    return count < 0 ? -errno : static_cast<int>(count);
  }

  struct Free {
    void operator()(char* block) const { std::free(block); }
  };
  const MonotonicClock clock_;
  std::filesystem::path folder_;
  std::unique_ptr<char[], Free> block_;
  std::unique_ptr<LabStorage> storage_;
};

TEST_F(LabStorageTest, ServesFilesAsTheFolderBeneathHasThem) {
  std::filesystem::create_directory(folder_ / "state");
  std::ofstream{folder_ / "state" / "one"} << "text";
  std::filesystem::rename(folder_ / "state" / "one", folder_ / "state" / "two");
  std::string text;
  std::ifstream{LabStorage::beneath(folder_) / "state" / "two"} >> text;
  EXPECT_EQ(text, "text");
  std::filesystem::resize_file(folder_ / "state" / "two", 2);
  EXPECT_EQ(std::filesystem::file_size(LabStorage::beneath(folder_) / "state" / "two"), 2U);
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator{folder_ / "state"}) names.push_back(entry.path().filename());
  EXPECT_THAT(names, testing::ElementsAre("two"));
  std::filesystem::remove(folder_ / "state" / "two");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "state" / "two"));
}

TEST_F(LabStorageTest, RunsAProgram) {
  std::filesystem::copy_file("/bin/true", folder_ / "program");
  const auto said = run_command(clock_, {(folder_ / "program").string()}, std::chrono::seconds{20});
  EXPECT_TRUE(said) << said.error().text();
}

TEST_F(LabStorageTest, FailsDirectOperationsAndRecovers) {
  const auto file = open_direct();
  EXPECT_EQ(write_block(file, 'a'), 4096);
  order(StorageState::kEio);
  EXPECT_EQ(write_block(file, 'b'), -EIO);
  EXPECT_EQ(read_block(file), -EIO);
  EXPECT_LT(::open((folder_ / "disk").c_str(), O_RDONLY | O_CLOEXEC), 0);
  order(StorageState::kHealthy);
  EXPECT_EQ(read_block(file), 4096);
  EXPECT_EQ(std::count(block_.get(), block_.get() + kBlockBytes, 'a'), 4096);
}

TEST_F(LabStorageTest, CorruptsWhatIsReadAndNotWhatIsWritten) {
  const auto file = open_direct();
  order(StorageState::kCorrupt);
  EXPECT_EQ(write_block(file, 'a'), 4096);
  EXPECT_EQ(read_block(file), 4096);
  EXPECT_EQ(std::count(block_.get(), block_.get() + kBlockBytes, 'a'), 4096 - 8);
  order(StorageState::kHealthy);
  EXPECT_EQ(read_block(file), 4096);
  EXPECT_EQ(std::count(block_.get(), block_.get() + kBlockBytes, 'a'), 4096);
}

TEST_F(LabStorageTest, HangsUntilItIsWellAgain) {
  const auto file = open_direct();
  order(StorageState::kHang);
  std::atomic<int> result{0};
  std::jthread writer{[&] { result = write_block(file, 'a'); }};
  std::this_thread::sleep_for(std::chrono::milliseconds{200});  // a storage that does not hang would have answered; none is failed for it
  EXPECT_EQ(result, 0);
  order(StorageState::kHealthy);
  writer.join();
  EXPECT_EQ(result, 4096);
}

TEST_F(LabStorageTest, IsGoneWithItsProcessEvenUnderAHang) {
  const auto file = open_direct();
  order(StorageState::kHang);
  std::atomic<int> result{0};
  std::jthread writer{[&] { result = write_block(file, 'a'); }};
  std::this_thread::sleep_for(std::chrono::milliseconds{50});
  storage_->kill();
  writer.join();
  EXPECT_LT(result, 0);
  EXPECT_EQ(read_block(file), -ENOTCONN);
  EXPECT_FALSE(storage_->order(StorageState::kHealthy));
}

TEST_F(LabStorageTest, ServesIoUringPastThePageCache) {
  const auto file = open_direct();
  io_uring ring;
  ASSERT_EQ(::io_uring_queue_init(8, &ring, 0), 0);
  const auto completed = [&] {
    ::io_uring_submit(&ring);
    io_uring_cqe* done = nullptr;
    EXPECT_EQ(::io_uring_wait_cqe(&ring, &done), 0);
    const int result = done->res;
    ::io_uring_cqe_seen(&ring, done);
    return result;
  };
  std::fill_n(block_.get(), kBlockBytes, 'x');
  ::io_uring_prep_write(::io_uring_get_sqe(&ring), file.get(), block_.get(), kBlockBytes, 0);
  EXPECT_EQ(completed(), 4096);
  ::io_uring_prep_fsync(::io_uring_get_sqe(&ring), file.get(), IORING_FSYNC_DATASYNC);
  EXPECT_EQ(completed(), 0);
  // Written beneath, behind the kernel's back: only a read that reaches the storage sees it.
  std::ofstream{LabStorage::beneath(folder_) / "disk"} << std::string(kBlockBytes, 'y');
  ::io_uring_prep_read(::io_uring_get_sqe(&ring), file.get(), block_.get(), kBlockBytes, 0);
  EXPECT_EQ(completed(), 4096);
  EXPECT_EQ(block_[0], 'y');
  ::io_uring_prep_fallocate(::io_uring_get_sqe(&ring), file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kBlockBytes);
  EXPECT_EQ(completed(), 0);
  order(StorageState::kEio);
  ::io_uring_prep_read(::io_uring_get_sqe(&ring), file.get(), block_.get(), kBlockBytes, 0);
  EXPECT_EQ(completed(), -EIO);
  ::io_uring_queue_exit(&ring);
}

}  // namespace
}  // namespace understudy::lab
