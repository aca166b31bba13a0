// Requests at a real file: through io_uring past the page cache, through it, and one by one. And cutting a sparse image into extents.
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "replication/ring_block_io.h"
#include "replication/write_buffers.h"
#include "replication/zero_runs.h"
#include "tests/support/fake_block_file.h"

namespace understudy {
namespace {

using ::testing::HasSubstr;
using Bytes = std::vector<std::byte>;
using Kind = FileRequest::Kind;

Bytes pattern(std::size_t count) {
  Bytes bytes(count);
  for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>((i * 31 + (i >> 9) * 7) & 0xFF);
  return bytes;
}

class Folder {
 public:
  Folder() {
    char name[] = "/tmp/understudy-disk-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::filesystem::path make(std::size_t bytes) const {
    auto path = path_ / "image";
    std::ofstream{path}.flush();
    std::filesystem::resize_file(path, bytes);
    return path;
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

std::uint64_t allocated_bytes(const std::filesystem::path& path) {
  struct stat status {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0);
  return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

enum class Way { kDirect, kCached, kSerial };

class BlockIoTest : public ::testing::TestWithParam<Way> {
 protected:
  static constexpr std::size_t kBytes = 4 << 20;
  void SetUp() override { open(kBytes); }

  void open(std::size_t bytes) {
    io_.reset();
    path_ = folder_.make(bytes);
    auto image = open_image_file(path_, false);
    ASSERT_TRUE(image) << image.error().text();
    if (GetParam() == Way::kSerial) {
      io_ = make_serial_io(make_block_file(std::move(*image)));
      return;
    }
    auto ring = make_ring_io(*image, GetParam() == Way::kDirect);
    if (!ring) GTEST_SKIP() << "this host forbids io_uring: " << ring.error().text();
    io_ = std::move(*ring);
  }
  // Carries out one request and gives its completion.
  FileCompletion run(const FileRequest& request) {
    io_->start(0, request);
    std::vector<FileCompletion> completed;
    while (completed.empty()) io_->wait(std::nullopt, completed);
    EXPECT_EQ(completed.size(), 1U);
    return std::move(completed[0]);
  }
  FileCompletion write(std::uint64_t offset, std::span<const std::byte> bytes, bool stable = false) {
    return run({.kind = Kind::kWrite, .offset_bytes = offset, .length_bytes = bytes.size(), .from = bytes, .stable = stable});
  }
  FileCompletion zero(std::uint64_t offset, std::uint64_t length, bool keep_space = false) {
    return run({.kind = Kind::kZeros, .offset_bytes = offset, .length_bytes = length, .keep_space = keep_space});
  }
  FileCompletion read(std::uint64_t offset, std::span<std::byte> into) {
    const iovec piece{into.data(), into.size()};
    return run({.kind = Kind::kRead, .offset_bytes = offset, .length_bytes = into.size(), .into = std::span{&piece, 1}});
  }
  Bytes content(std::uint64_t offset, std::size_t length) {
    Bytes bytes(length);
    const auto done = read(offset, bytes);
    EXPECT_FALSE(done.error) << done.error->text();
    return bytes;
  }

  const Folder folder_;
  std::filesystem::path path_;
  std::unique_ptr<BlockIo> io_;
};

INSTANTIATE_TEST_SUITE_P(Ways, BlockIoTest, ::testing::Values(Way::kDirect, Way::kCached, Way::kSerial), [](const auto& way) {
  return std::string{way.param == Way::kDirect ? "Direct" : way.param == Way::kCached ? "Cached" : "Serial"};
});

TEST_P(BlockIoTest, ReadsWhatItWroteWhateverTheMemory) {
  const auto buffers = WriteBuffers::create(0);
  const Bytes bytes = pattern(3 << 20);
  const auto aligned = buffers->take(bytes.size());
  std::memcpy(aligned.get(), bytes.data(), bytes.size());
  EXPECT_FALSE(write(0, {aligned.get(), bytes.size()}).error);
  EXPECT_EQ(content(0, bytes.size()), bytes);
  // From an odd address, longer than a bounce buffer; then into pieces of odd lengths.
  Bytes odd(bytes.size() + 1);
  std::ranges::copy(bytes, odd.begin() + 1);
  EXPECT_FALSE(write(512, std::span{odd}.subspan(1)).error);
  Bytes first(1000), second(2 << 20), third(24 + 1024);
  const std::array<iovec, 3> into{iovec{first.data(), first.size()}, iovec{second.data(), second.size()},
                                  iovec{third.data(), third.size()}};
  const std::size_t total = first.size() + second.size() + third.size();
  EXPECT_FALSE(run({.kind = Kind::kRead, .offset_bytes = 512, .length_bytes = total, .into = into}).error);
  Bytes joined = first;
  joined.insert(joined.end(), second.begin(), second.end());
  joined.insert(joined.end(), third.begin(), third.end());
  EXPECT_TRUE(std::equal(joined.begin(), joined.end(), bytes.begin()));
  // Aligned pieces go to their places without one.
  const auto target = buffers->take(8192);
  const std::array<iovec, 2> places{iovec{target.get() + 4096, 512}, iovec{target.get(), 1024}};
  EXPECT_FALSE(run({.kind = Kind::kRead, .offset_bytes = 512, .length_bytes = 1536, .into = places}).error);
  EXPECT_EQ(std::memcmp(target.get() + 4096, bytes.data(), 512), 0);
  EXPECT_EQ(std::memcmp(target.get(), bytes.data() + 512, 1024), 0);
}

TEST_P(BlockIoTest, ZerosAreHolesUnlessTheSpaceIsKept) {
  ASSERT_FALSE(write(0, pattern(1 << 20), true).error);
  const std::uint64_t full = allocated_bytes(path_);
  ASSERT_FALSE(zero(0, 512 << 10).error);
  EXPECT_LT(allocated_bytes(path_), full);
  ASSERT_FALSE(zero(512 << 10, 512 << 10, true).error);
  EXPECT_GE(allocated_bytes(path_), full - (512 << 10));
  EXPECT_EQ(content(0, 1 << 20), fake::filled(1 << 20, 0));
  // A range that is no file system's block.
  ASSERT_FALSE(write(4096, fake::filled(8192, 7)).error);
  ASSERT_FALSE(zero(4608, 1024).error);
  EXPECT_EQ(content(4096, 512), fake::filled(512, 7));
  EXPECT_EQ(content(4608, 1024), fake::filled(1024, 0));
  EXPECT_EQ(content(5632, 512), fake::filled(512, 7));
}

TEST_P(BlockIoTest, FlushesAndFindsData) {
  ASSERT_FALSE(write(2 << 20, fake::filled(64 << 10, 5)).error);
  EXPECT_FALSE(run({.kind = Kind::kFlush}).error);
  const auto found = run({.kind = Kind::kNextData, .offset_bytes = 4096, .length_bytes = kBytes - 4096});
  EXPECT_FALSE(found.error);
  EXPECT_GT(found.next_data, 4096U) << "a file system for this test knows holes";
  EXPECT_LE(found.next_data, std::uint64_t{2} << 20);
  EXPECT_EQ(run({.kind = Kind::kNextData, .offset_bytes = 3 << 20, .length_bytes = 1 << 20}).next_data, kBytes) << "only a hole follows";
}

TEST_P(BlockIoTest, AFileCutShortIsAnErrorAndWhatIsThereIsRead) {
  ASSERT_FALSE(write(0, pattern(8192)).error);
  std::filesystem::resize_file(path_, 4096);
  EXPECT_EQ(content(0, 4096), pattern(4096));
  Bytes whole(8192);
  const auto cut = read(0, whole);
  ASSERT_TRUE(cut.error);
  EXPECT_THAT(cut.error->text(), HasSubstr("cut short"));
  // Its missing part must not pass for a hole.
  const auto hole = run({.kind = Kind::kNextData, .offset_bytes = 4096, .length_bytes = 4096});
  ASSERT_TRUE(hole.error);
  EXPECT_THAT(hole.error->text(), HasSubstr("cut short"));
}

TEST_P(BlockIoTest, AWriteThatTheHostTakesInPartIsGoneOnWith) {
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const rlimit tight{.rlim_cur = 64 << 10, .rlim_max = old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tight), 0);
  // The first half fits, and is taken; then nothing more.
  const auto refused = write(32 << 10, pattern(64 << 10));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
  ASSERT_TRUE(refused.error);
  EXPECT_THAT(refused.error->text(), HasSubstr("write of 32768 bytes at 65536"));
  EXPECT_EQ(content(32 << 10, 4096), pattern(4096));
  ASSERT_FALSE(write(32 << 10, pattern(64 << 10)).error);
  EXPECT_EQ(content(32 << 10, 64 << 10), pattern(64 << 10));
}

TEST_P(BlockIoTest, WaitEndsAtItsTimeoutAndAtAWakeUp) {
  std::vector<FileCompletion> completed;
  EXPECT_FALSE(io_->wait(std::chrono::milliseconds{1}, completed));
  io_->wake();
  EXPECT_FALSE(io_->wait(std::nullopt, completed)) << "returns, because of the earlier wake-up";
  EXPECT_TRUE(completed.empty());
}

TEST_P(BlockIoTest, ManyAtOnce) {
  if (io_->depth() == 1) return;
  const Bytes bytes = pattern(io_->depth() * 4096);
  const auto buffers = WriteBuffers::create(0);
  const auto from = buffers->take(bytes.size());
  std::memcpy(from.get(), bytes.data(), bytes.size());
  for (unsigned slot = 0; slot < io_->depth(); ++slot)
    io_->start(slot, {.kind = Kind::kWrite, .offset_bytes = slot * 4096, .length_bytes = 4096, .from = {from.get() + slot * 4096, 4096}});
  std::vector<FileCompletion> completed;
  while (completed.size() < io_->depth()) io_->wait(std::nullopt, completed);
  for (const auto& each : completed) EXPECT_FALSE(each.error);
  EXPECT_EQ(content(0, bytes.size()), bytes);
}

TEST(BlockFile, RefusesWhatIsNoImage) {
  const Folder folder;
  const auto missing = open_block_io(folder.path() / "missing", false);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code(), ErrorCode::kUnavailable);
  const auto odd = open_block_io(folder.make(1000), false);
  ASSERT_FALSE(odd);
  EXPECT_EQ(odd.error().code(), ErrorCode::kInvalid);
  EXPECT_THAT(odd.error().text(), HasSubstr("1000 bytes"));
  const auto directory = open_block_io(folder.path(), true);
  ASSERT_FALSE(directory);
  EXPECT_EQ(directory.error().code(), ErrorCode::kInvalid);
}

TEST(BlockFile, OneUserAtATime) {
  const Folder folder;
  const auto path = folder.make(4096);
  const auto first = open_block_io(path, false);
  ASSERT_TRUE(first);
  const auto second = open_block_io(path, false);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), ErrorCode::kRefused);
}

TEST(WriteBuffers, AreAlignedAndComeBackUpToALimit) {
  const auto pool = WriteBuffers::create(8192);
  const std::byte* address = nullptr;
  {
    const auto one = pool->take(512);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(one.get()) % WriteBuffers::kAlignment, 0U);
    address = one.get();
  }
  EXPECT_EQ(pool->kept_bytes(), 4096U);
  auto again = pool->take(4096);
  EXPECT_EQ(again.get(), address);
  EXPECT_EQ(pool->kept_bytes(), 0U);
  pool->take(1 << 20).reset();
  EXPECT_EQ(pool->kept_bytes(), 0U) << "larger than what is kept";
}

TEST(ZeroRuns, SayTheSameInFewerBytes) {
  constexpr std::size_t kBlock = kZeroBlockBytes;
  const struct {
    const char* name;
    std::uint64_t offset;
    std::size_t length;
    std::vector<std::size_t> set;  // bytes that are not zero
    std::string runs;
  } cases[] = {
      {"all zeros", 0, 4 * kBlock, {}, "z65536"},
      {"no zeros", 0, 512, {0}, "d512"},
      {"data in the middle", 0, 4 * kBlock, {2 * kBlock - 1}, "z16384 d16384 z32768"},
      {"the last byte", 0, 2 * kBlock, {2 * kBlock - 1}, "z16384 d16384"},
      {"off the blocks' grid", 512, kBlock, {kBlock - 1}, "z15872 d512"},
      {"one sector of zeros", 512, 512, {}, "z512"},
  };
  for (const auto& each : cases) {
    const auto bytes = std::make_shared<Bytes>(each.length);
    for (const std::size_t at : each.set) (*bytes)[at] = std::byte{1};
    Bytes rebuilt;
    std::string runs;
    for (const DiskWrite& run : split_at_zeros(each.offset, OwnedBytes{*bytes, bytes})) {
      EXPECT_EQ(run.offset_bytes, each.offset + rebuilt.size()) << each.name;
      runs += (runs.empty() ? "" : " ") + std::string{run.zeros ? "z" : "d"} + std::to_string(run.length_bytes);
      if (run.zeros)
        rebuilt.resize(rebuilt.size() + run.length_bytes);
      else
        rebuilt.insert(rebuilt.end(), run.data.bytes.begin(), run.data.bytes.end());
    }
    EXPECT_EQ(runs, each.runs) << each.name;
    EXPECT_EQ(rebuilt, *bytes) << each.name;
  }
  const auto extents = zero_extent(512, std::uint64_t{kMaxDiskZerosBytes} + 1024);
  ASSERT_EQ(extents.size(), 2U);
  EXPECT_EQ(extents[0].length_bytes, kMaxDiskZerosBytes);
  EXPECT_EQ(extents[1].offset_bytes, 512U + kMaxDiskZerosBytes);
  EXPECT_EQ(extents[1].length_bytes, 1024U);
}

}  // namespace
}  // namespace understudy
