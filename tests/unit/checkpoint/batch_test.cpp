// Page and disk batches: there and back, zero pages, and every kind of damage named.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/flat_message.h"
#include "checkpoint/manifest.capnp.h"
#include "checkpoint/page_batch.h"

namespace understudy {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::size_t kImagePages = 1000;

// Pages with a content that names them; those in `zero` stay zero.
StagedPages stage(StagingPool& pool, std::vector<std::uint32_t> pages, const std::vector<std::uint32_t>& zero = {}) {
  StagedPages staged{pool.try_acquire(), std::move(pages)};
  for (std::size_t i = 0; i < staged.pages.size(); ++i) {
    const bool is_zero = std::ranges::find(zero, staged.pages[i]) != zero.end();
    auto page = staged.buffer.bytes().subspan(i * kPageSizeBytes, kPageSizeBytes);
    std::ranges::fill(page, std::byte{0});
    if (!is_zero) page[staged.pages[i] % kPageSizeBytes] = static_cast<std::byte>(staged.pages[i] % 255 + 1);
  }
  return staged;
}
bool holds(const OwnedBytes& contents, std::size_t index, std::uint32_t page) {
  return contents.bytes[index * kPageSizeBytes + page % kPageSizeBytes] == static_cast<std::byte>(page % 255 + 1);
}

class PageBatchTest : public ::testing::Test {
 protected:
  PageBatchTest() : pool{*StagingPool::create(2, 16)} {}
  std::unique_ptr<StagingPool> pool;
};

TEST_F(PageBatchTest, ThereAndBack) {
  const auto parts = encode_pages(stage(*pool, {3, 9, 900}), 16, 5);
  ASSERT_EQ(parts.size(), 1U);
  EXPECT_EQ(parts[0].pages, 3U);
  EXPECT_EQ(parts[0].bulk_bytes, 3 * kPageSizeBytes);
  const auto batch = decode_pages(parts[0].payload, parts[0].bulk, kImagePages);
  ASSERT_TRUE(batch) << batch.error().text();
  EXPECT_EQ(batch->sequence, 5U);
  EXPECT_EQ(batch->checksum, parts[0].checksum);
  EXPECT_THAT(batch->pages, ElementsAre(3, 9, 900));
  EXPECT_TRUE(holds(batch->contents, 0, 3) && holds(batch->contents, 1, 9) && holds(batch->contents, 2, 900));
}

TEST_F(PageBatchTest, ZeroPagesTravelAsNumbers) {
  const auto parts = encode_pages(stage(*pool, {1, 2, 3, 4, 5}, {1, 3, 4}), 16, 0);
  ASSERT_EQ(parts.size(), 1U);
  EXPECT_EQ(parts[0].zero_pages, 3U);
  const auto batch = decode_pages(parts[0].payload, parts[0].bulk, kImagePages);
  ASSERT_TRUE(batch);
  EXPECT_THAT(batch->pages, ElementsAre(2, 5));
  EXPECT_THAT(batch->zero_pages, ElementsAre(1, 3, 4));
  EXPECT_TRUE(holds(batch->contents, 0, 2) && holds(batch->contents, 1, 5));
}

TEST_F(PageBatchTest, OnlyZeroPagesNeedNoFrameAndFreeTheBuffer) {
  const auto parts = encode_pages(stage(*pool, {1, 2}, {1, 2}), 16, 0);
  ASSERT_EQ(parts.size(), 1U);
  EXPECT_THAT(parts[0].bulk, IsEmpty());
  EXPECT_EQ(pool->free_buffers(), 2U);
  EXPECT_TRUE(decode_pages(parts[0].payload, {}, kImagePages));
}

TEST_F(PageBatchTest, PagesKnownToBeZerosComeLastInBatchesOfTheirOwn) {
  auto staged = stage(*pool, {2, 5}, {5});
  for (std::uint32_t page = 0; page < kMaxBatchPages + 3; ++page) staged.zero_pages.push_back(10 + page);
  const auto parts = encode_pages(std::move(staged), 16, 7);
  ASSERT_EQ(parts.size(), 3U);
  std::vector<std::uint32_t> zeros;
  for (std::uint32_t i = 0; i < 3; ++i) {
    const auto batch = decode_pages(parts[i].payload, parts[i].bulk, 5000);
    ASSERT_TRUE(batch) << batch.error().text();
    EXPECT_EQ(batch->sequence, 7 + i);
    EXPECT_EQ(parts[i].bulk_bytes, i == 0 ? kPageSizeBytes : 0U);
    EXPECT_EQ(parts[i].pages, batch->pages.size() + batch->zero_pages.size());
    zeros.insert(zeros.end(), batch->zero_pages.begin(), batch->zero_pages.end());
  }
  ASSERT_EQ(zeros.size(), kMaxBatchPages + 4);
  EXPECT_EQ(zeros.front(), 5U);
  for (std::uint32_t page = 0; page < kMaxBatchPages + 3; ++page) ASSERT_EQ(zeros[page + 1], 10 + page);
}

TEST_F(PageBatchTest, APageThatDiffersOnlyInItsLastByteIsNotZero) {
  auto staged = stage(*pool, {1}, {1});
  staged.buffer.bytes()[kPageSizeBytes - 1] = std::byte{1};
  EXPECT_EQ(encode_pages(std::move(staged), 16, 0)[0].zero_pages, 0U);
}

TEST_F(PageBatchTest, CutIntoNumberedBatchesThatShareTheBuffer) {
  auto parts = encode_pages(stage(*pool, {0, 1, 2, 3, 4, 5, 6}, {2}), 3, 10);
  ASSERT_EQ(parts.size(), 3U);
  std::vector<std::uint32_t> seen;
  for (std::uint32_t i = 0; i < 3; ++i) {
    const auto batch = decode_pages(parts[i].payload, parts[i].bulk, kImagePages);
    ASSERT_TRUE(batch);
    EXPECT_EQ(batch->sequence, 10 + i);
    for (std::size_t at = 0; at < batch->pages.size(); ++at) {
      EXPECT_TRUE(holds(batch->contents, at, batch->pages[at]));
      seen.push_back(batch->pages[at]);
    }
  }
  EXPECT_THAT(seen, ElementsAre(0, 1, 3, 4, 5, 6));
  EXPECT_EQ(pool->free_buffers(), 1U);
  parts.clear();
  EXPECT_EQ(pool->free_buffers(), 2U);
}

// Damage: a batch built field by field, its checksum as it comes.
struct Damage {
  std::string name;
  std::vector<std::uint32_t> pages;
  std::vector<std::uint32_t> zero_pages;
  std::vector<std::size_t> frame_bytes;
  std::string reason;
};
class PageDamageTest : public ::testing::TestWithParam<Damage> {};

TEST_P(PageDamageTest, IsNamed) {
  const Damage& damage = GetParam();
  const auto payload = flat_message::write<schema::PageBatch>([&](schema::PageBatch::Builder out) {
    out.setPages(kj::arrayPtr(damage.pages.data(), damage.pages.size()));
    out.setZeroPages(kj::arrayPtr(damage.zero_pages.data(), damage.zero_pages.size()));
  });
  std::vector<OwnedBytes> bulk;
  for (const std::size_t size : damage.frame_bytes) {
    const auto bytes = std::make_shared<std::vector<std::byte>>(size);
    bulk.push_back({*bytes, bytes});
  }
  const auto batch = decode_pages(payload, bulk, kImagePages);
  ASSERT_FALSE(batch);
  EXPECT_EQ(batch.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(batch.error().text(), HasSubstr(damage.reason));
}

INSTANTIATE_TEST_SUITE_P(All, PageDamageTest,
                         ::testing::Values(Damage{"Empty", {}, {}, {}, "0 pages"},
                                           Damage{"BeyondTheImage", {1000}, {}, {4096}, "page 1000 of an image of 1000"},
                                           Damage{"ZeroBeyondTheImage", {}, {4000000000U}, {}, "page 4000000000 of an image of 1000"},
                                           Damage{"Repeated", {4, 4}, {}, {8192}, "page 4 after 4"},
                                           Damage{"Descending", {5, 4}, {}, {8192}, "page 4 after 5"},
                                           Damage{"ZeroAndNot", {4, 7}, {7}, {8192}, "page 7 is both zero and not"},
                                           Damage{"FrameTooShort", {4}, {}, {4095}, "4095 bytes for 1 pages"},
                                           Damage{"FrameTooLong", {4}, {}, {8192}, "8192 bytes for 1 pages"},
                                           Damage{"FrameMissing", {4}, {}, {}, "0 frames with 1 pages"},
                                           Damage{"FrameTooMany", {4}, {}, {4096, 4096}, "2 frames with 1 pages"},
                                           Damage{"FrameWithoutPages", {}, {4}, {4096}, "1 frames with 0 pages"},
                                           Damage{"Checksum", {4}, {}, {4096}, "checksum"},
                                           Damage{"TooMany", std::vector<std::uint32_t>(kMaxBatchPages + 1), {}, {}, "4097 pages"}),
                         [](const auto& tested) { return tested.param.name; });

TEST_F(PageBatchTest, AnyFlippedBitIsFound) {
  const auto parts = encode_pages(stage(*pool, {3, 9}, {9}), 16, 5);
  const auto& part = parts[0];
  for (std::size_t bit = 0; bit < part.payload.size() * 8; ++bit) {
    auto payload = part.payload;
    payload[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    const auto batch = decode_pages(payload, part.bulk, kImagePages);
    // What decodes all the same says the same: the flip was in bytes that mean nothing.
    if (!batch) continue;
    EXPECT_EQ(batch->sequence, 5U);
    EXPECT_THAT(batch->pages, ElementsAre(3));
    EXPECT_THAT(batch->zero_pages, ElementsAre(9));
  }
  std::vector<std::byte> contents{part.bulk[0].bytes.begin(), part.bulk[0].bytes.end()};
  for (std::size_t at = 0; at < contents.size(); at += 97) {
    contents[at] ^= std::byte{16};
    const OwnedBytes frame{contents, nullptr};
    EXPECT_FALSE(decode_pages(part.payload, std::span{&frame, 1}, kImagePages));
    contents[at] ^= std::byte{16};
  }
}

TEST_F(PageBatchTest, CutShortAnywhereIsAnError) {
  const auto parts = encode_pages(stage(*pool, {3, 9}), 16, 5);
  for (std::size_t length = 0; length < parts[0].payload.size(); ++length)
    EXPECT_FALSE(decode_pages(std::span{parts[0].payload}.first(length), parts[0].bulk, kImagePages)) << length;
}

// ----------------------------------------------------------------------------------------------------------------- disks

DiskWrite write_of(std::uint16_t disk, std::uint64_t offset, std::uint32_t length, std::uint8_t value) {
  const auto bytes = std::make_shared<std::vector<std::byte>>(length, std::byte{value});
  return {.disk = disk, .offset_bytes = offset, .length_bytes = length, .zeros = false, .data = {*bytes, bytes}};
}
DiskWrite zeros_of(std::uint16_t disk, std::uint64_t offset, std::uint32_t length) {
  return {.disk = disk, .offset_bytes = offset, .length_bytes = length, .zeros = true, .data = {}};
}
const std::vector<std::uint64_t> kDisks{8192, 4096};

TEST(DiskBatchTest, ThereAndBackInOrder) {
  const std::vector<DiskWrite> writes{write_of(0, 512, 1024, 7), zeros_of(1, 0, 4096), write_of(0, 512, 512, 8)};
  const EncodedPart part = encode_disk_writes(writes, 4);
  EXPECT_EQ(part.bulk.size(), 2U);
  const auto batch = decode_disk_writes(part.payload, part.bulk, kDisks);
  ASSERT_TRUE(batch) << batch.error().text();
  EXPECT_EQ(batch->sequence, 4U);
  ASSERT_EQ(batch->writes.size(), 3U);
  EXPECT_TRUE(batch->writes[1].zeros);
  EXPECT_EQ(batch->writes[1].disk, 1);
  EXPECT_EQ(batch->writes[2].data.bytes[0], std::byte{8});
}

struct DiskDamage {
  std::string name;
  DiskWrite write;
  std::string reason;
};
class DiskDamageTest : public ::testing::TestWithParam<DiskDamage> {};

TEST_P(DiskDamageTest, IsNamed) {
  const EncodedPart part = encode_disk_writes(std::span{&GetParam().write, 1}, 0);
  const auto batch = decode_disk_writes(part.payload, part.bulk, kDisks);
  ASSERT_FALSE(batch);
  EXPECT_EQ(batch.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(batch.error().text(), HasSubstr(GetParam().reason));
}

INSTANTIATE_TEST_SUITE_P(All, DiskDamageTest,
                         ::testing::Values(DiskDamage{"NoSuchDisk", write_of(2, 0, 512, 1), "there are 2 disks"},
                                           DiskDamage{"BeyondItsEnd", write_of(1, 3584, 1024, 1), "beyond its end at 4096"},
                                           DiskDamage{"FarBeyond", zeros_of(0, ~std::uint64_t{511}, 1024), "beyond its end"},
                                           DiskDamage{"OddOffset", write_of(0, 100, 512, 1), "not whole sectors"},
                                           DiskDamage{"OddLength", write_of(0, 0, 513, 1), "not whole sectors"},
                                           DiskDamage{"Nothing", zeros_of(0, 0, 0), "not whole sectors"},
                                           DiskDamage{"TooLong", write_of(0, 0, kMaxDiskWriteBytes + 512, 1), "longer than"},
                                           DiskDamage{"TooManyZeros", zeros_of(0, 0, kMaxDiskZerosBytes + 512), "longer than"},
                                           DiskDamage{"LongZerosBeyondTheEnd", zeros_of(0, 0, kMaxDiskZerosBytes), "beyond its end"}),
                         [](const auto& tested) { return tested.param.name; });

TEST(DiskBatchTest, FramesMustFit) {
  const DiskWrite write = write_of(0, 0, 512, 1);
  const EncodedPart part = encode_disk_writes(std::span{&write, 1}, 0);
  EXPECT_FALSE(decode_disk_writes(part.payload, {}, kDisks));
  const std::vector<OwnedBytes> two{part.bulk[0], part.bulk[0]};
  EXPECT_FALSE(decode_disk_writes(part.payload, two, kDisks));
  const OwnedBytes shorter{part.bulk[0].bytes.first(511), nullptr};
  EXPECT_FALSE(decode_disk_writes(part.payload, std::span{&shorter, 1}, kDisks));
  std::vector<std::byte> flipped{part.bulk[0].bytes.begin(), part.bulk[0].bytes.end()};
  flipped[100] ^= std::byte{1};
  const OwnedBytes wrong{flipped, nullptr};
  const auto batch = decode_disk_writes(part.payload, std::span{&wrong, 1}, kDisks);
  ASSERT_FALSE(batch);
  EXPECT_THAT(batch.error().text(), HasSubstr("checksum"));
}

}  // namespace
}  // namespace understudy
