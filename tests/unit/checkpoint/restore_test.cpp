// From epoch to image: whole or not at all. And the manifest: its digest, its golden form.
#include "checkpoint/restore.h"

#include <array>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checkpoint/flat_message.h"
#include "checkpoint/manifest.capnp.h"
#include "tests/support/fake_machine.h"

namespace understudy {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t kDigestOfVersion1 = 5460868824350443722U;

class RestoreTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kPages = 32;
  RestoreTest() : target{kPages}, stage{{.page_count = kPages, .max_disk_bytes = 4096}}, pool{*StagingPool::create(4, 8)} {
    target.make_warm();
    fake::FakeMachine source{kPages};
    source.set_counter(9);
    EXPECT_TRUE(source.pause({}));
    const auto saved = *source.save();
    const auto copy = std::make_shared<std::vector<std::byte>>(saved.begin(), saved.end());
    state = {*copy, copy};
    stage.begin(Epoch{4});
  }

  PageBatch pages(std::vector<std::uint32_t> numbers, std::uint32_t sequence, std::uint8_t value) {
    StagedPages staged{pool->try_acquire(), std::move(numbers)};
    std::ranges::fill(staged.buffer.bytes(), std::byte{value});
    const auto parts = encode_pages(std::move(staged), 8, sequence);
    return *decode_pages(parts[0].payload, parts[0].bulk, kPages);
  }
  DiskBatch write(std::uint32_t length, std::uint32_t sequence, bool zeros = true) {
    const std::vector<std::uint64_t> disks{1 << 20};
    DiskWrite one{.disk = 0, .offset_bytes = 0, .length_bytes = length, .zeros = zeros, .data = {}};
    const auto bytes = std::make_shared<std::vector<std::byte>>(length, std::byte{1});
    if (!zeros) one.data = {*bytes, bytes};
    const auto part = encode_disk_writes(std::span{&one, 1}, sequence);
    return *decode_disk_writes(part.payload, part.bulk, disks);
  }
  Manifest manifest_of_two_parts(std::uint8_t value = 3) {
    EpochDigest digest;
    const PageBatch batch = pages({1, 5}, 0, value);
    digest.add_pages(batch.checksum, 2, value == 0 ? 2 : 0);
    digest.add_disk_writes(write(512, 1).checksum, 1, 512);
    return digest.close(Term{2}, Epoch{5}, Epoch{4}, state.bytes);
  }
  std::byte first_byte_of(std::size_t page) const { return target.memory()[page * kPageSizeBytes]; }

  fake::FakeMachine target;
  EpochStage stage;
  std::unique_ptr<StagingPool> pool;
  OwnedBytes state;
};

TEST_F(RestoreTest, NothingTouchesTheImageBeforeTheWholeEpochIsVerified) {
  ASSERT_TRUE(stage.add(pages({1, 5}, 0, 3)));
  ASSERT_TRUE(stage.add(write(512, 1)));
  EXPECT_EQ(first_byte_of(1), std::byte{0});
  const auto verified = stage.verify(manifest_of_two_parts(), state, target);
  ASSERT_TRUE(verified) << verified.error().text();
  EXPECT_EQ(first_byte_of(1), std::byte{0});
  stage.apply(target);
  EXPECT_EQ(first_byte_of(1), std::byte{3});
  EXPECT_EQ(first_byte_of(5), std::byte{3});
  EXPECT_EQ(first_byte_of(2), std::byte{0});
  EXPECT_EQ(stage.take_disk_writes().size(), 1U);
  const OwnedBytes taken = stage.take_state();
  ASSERT_TRUE(target.restore(taken.bytes));
  EXPECT_EQ(target.counter(), 9U);
}

TEST_F(RestoreTest, AZeroPageClearsTheImagesPage) {
  target.page_for_writing(PageIndex{1})[0] = std::byte{77};
  ASSERT_TRUE(stage.add(pages({1, 5}, 0, 0)));
  ASSERT_TRUE(stage.add(write(512, 1)));
  ASSERT_TRUE(stage.verify(manifest_of_two_parts(0), state, target));
  stage.apply(target);
  EXPECT_EQ(first_byte_of(1), std::byte{0});
}

TEST_F(RestoreTest, ZeroPagesBecomeWhatTheTargetMakesOfThem) {
  for (std::size_t page = 0; page < kPages; ++page) target.page_for_writing(PageIndex{page})[0] = std::byte{77};
  PageBatch batch;
  batch.zero_pages = {0, 1, 2, 4, 30, 31};
  write_pages(batch, target);
  for (std::uint32_t page = 0; page < kPages; ++page) {
    const bool zero = std::ranges::find(batch.zero_pages, page) != batch.zero_pages.end();
    EXPECT_EQ(first_byte_of(page), zero ? std::byte{0} : std::byte{77}) << page;
    EXPECT_EQ(target.holds(PageIndex{page}), !zero) << page;
  }
}

TEST_F(RestoreTest, AnIncompleteEpochIsThrownAwayWhole) {
  ASSERT_TRUE(stage.add(pages({1, 5}, 0, 3)));
  const auto verified = stage.verify(manifest_of_two_parts(), state, target);
  ASSERT_FALSE(verified);
  EXPECT_EQ(verified.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(verified.error().text(), HasSubstr("1 parts"));
  EXPECT_THAT(verified.error().text(), HasSubstr("manifest says 2"));
  stage.begin(Epoch{4});
  EXPECT_TRUE(stage.empty());
  EXPECT_EQ(first_byte_of(1), std::byte{0});
}

TEST_F(RestoreTest, PartsComeInOrderAndOnce) {
  ASSERT_TRUE(stage.add(pages({1}, 0, 3)));
  EXPECT_FALSE(stage.add(pages({2}, 0, 3)));
  EXPECT_FALSE(stage.add(pages({2}, 2, 3)));
  EXPECT_FALSE(stage.add(write(512, 7)));
  const auto twice = stage.add(pages({1, 2}, 1, 3));
  ASSERT_FALSE(twice);
  EXPECT_THAT(twice.error().text(), HasSubstr("page 1 twice"));
}

TEST_F(RestoreTest, ATransferMayRepeatPages) {
  ASSERT_TRUE(stage.note(pages({1}, 0, 3)));
  ASSERT_TRUE(stage.note(pages({1}, 1, 4)));
  EXPECT_FALSE(stage.note(pages({1}, 3, 4)));
}

TEST_F(RestoreTest, DiskBytesAreBounded) {
  ASSERT_TRUE(stage.add(write(1 << 20, 0)));  // zeros take no room, however many
  ASSERT_TRUE(stage.add(write(3584, 1, false)));
  const auto more = stage.add(write(512, 2, false));
  ASSERT_FALSE(more);
  EXPECT_THAT(more.error().text(), HasSubstr("at most 4096 are staged"));
}

TEST_F(RestoreTest, EveryWrongFieldOfTheManifestIsRefused) {
  const Manifest good = manifest_of_two_parts();
  const std::vector<std::function<void(Manifest&)>> changes{
      [](Manifest& m) { m.term = Term{3}; },     [](Manifest& m) { m.epoch = Epoch{6}; },  [](Manifest& m) { m.base = Epoch{3}; },
      [](Manifest& m) { ++m.part_count; },       [](Manifest& m) { ++m.page_count; },      [](Manifest& m) { ++m.zero_page_count; },
      [](Manifest& m) { ++m.disk_write_count; }, [](Manifest& m) { m.disk_bytes += 512; }, [](Manifest& m) { ++m.state_bytes; },
      [](Manifest& m) { m.digest ^= 1; },
  };
  for (std::size_t i = 0; i < changes.size(); ++i) {
    stage.begin(Epoch{4});
    ASSERT_TRUE(stage.add(pages({1, 5}, 0, 3)));
    ASSERT_TRUE(stage.add(write(512, 1)));
    Manifest wrong = good;
    changes[i](wrong);
    const auto verified = stage.verify(wrong, state, target);
    ASSERT_FALSE(verified) << i;
    EXPECT_EQ(verified.error().code(), ErrorCode::kCorrupt) << i;
  }
}

TEST_F(RestoreTest, AWrongStateIsRefused) {
  ASSERT_TRUE(stage.add(pages({1, 5}, 0, 3)));
  ASSERT_TRUE(stage.add(write(512, 1)));
  std::vector<std::byte> flipped{state.bytes.begin(), state.bytes.end()};
  flipped[100] ^= std::byte{1};
  EXPECT_FALSE(stage.verify(manifest_of_two_parts(), OwnedBytes{flipped, nullptr}, target));
  target.refuse_states("another number of vCPUs");
  const auto verified = stage.verify(manifest_of_two_parts(), state, target);
  ASSERT_FALSE(verified);
  EXPECT_EQ(verified.error().text(), "machine state: another number of vCPUs");
}

TEST(DigestTest, DependsOnOrderAndEverything) {
  const auto digest_of = [](auto... steps) {
    EpochDigest digest;
    (steps(digest), ...);
    return digest.close(Term{1}, Epoch{2}, Epoch{1}, {}).digest;
  };
  const auto page = [](EpochDigest& digest) { digest.add_pages(11, 1, 0); };
  const auto disk = [](EpochDigest& digest) { digest.add_disk_writes(11, 1, 512); };
  const auto other = [](EpochDigest& digest) { digest.add_pages(12, 1, 0); };
  const std::set<std::uint64_t> all{digest_of(),           digest_of(page),       digest_of(disk),        digest_of(page, page),
                                    digest_of(page, disk), digest_of(disk, page), digest_of(page, other), digest_of(other, page)};
  EXPECT_EQ(all.size(), 8U);
}

// ------------------------------------------------------------------------------------------------------------- manifest

const Manifest kGolden{.term = Term{7},
                       .epoch = Epoch{4812},
                       .base = Epoch{4811},
                       .part_count = 3,
                       .page_count = 700,
                       .zero_page_count = 12,
                       .disk_write_count = 2,
                       .disk_bytes = 4608,
                       .state_bytes = 9000,
                       .digest = 0x0123'4567'89ab'cdef};

TEST(ManifestTest, ThereAndBack) {
  const auto back = decode_manifest(encode_manifest(kGolden));
  ASSERT_TRUE(back) << back.error().text();
  EXPECT_EQ(*back, kGolden);
}

// Bytes of the first release: written once, read for ever. With UNDERSTUDY_WRITE_GOLDEN set, a missing file is written.
TEST(ManifestTest, ReadsTheGoldenManifestOfVersion1) {
  const std::string path = std::string{UNDERSTUDY_GOLDEN_DIR} + "/manifest-v1";
  if (std::getenv("UNDERSTUDY_WRITE_GOLDEN") != nullptr && !std::ifstream{path}.good()) {
    const auto bytes = encode_manifest(kGolden);
    std::ofstream{path, std::ios::binary}.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  std::ifstream file{path, std::ios::binary};
  ASSERT_TRUE(file.good()) << path;
  const std::string text{std::istreambuf_iterator<char>{file}, {}};
  const auto manifest = decode_manifest(std::as_bytes(std::span{text}));
  ASSERT_TRUE(manifest) << manifest.error().text();
  EXPECT_EQ(*manifest, kGolden);
}

// The digest is what two releases must agree on, bit by bit.
TEST(ManifestTest, TheDigestOfVersion1IsFixed) {
  EpochDigest digest;
  digest.add_pages(0x1111, 5, 2);
  digest.add_disk_writes(0x2222, 1, 512);
  const std::array<std::byte, 4> state{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
  EXPECT_EQ(digest.close(Term{7}, Epoch{8}, Epoch{6}, state).digest, kDigestOfVersion1);
}

TEST(ManifestTest, AnEndIsCoveredByTheDigest) {
  const EpochDigest digest;
  const auto close = [&](std::string_view ended) { return digest.close(Term{7}, Epoch{8}, Epoch{6}, {}, ended); };
  EXPECT_EQ(close("").digest, digest.close(Term{7}, Epoch{8}, Epoch{6}, {}).digest) << "a guest that lives is told as in the first release";
  EXPECT_NE(close("off").digest, close("").digest);
  EXPECT_NE(close("off").digest, close("of").digest);
  const auto back = decode_manifest(encode_manifest(close("off")));
  ASSERT_TRUE(back) << back.error().text();
  EXPECT_EQ(back->ended, "off");
  EXPECT_EQ(close("a\nb\x7f").ended, "a?b?");
  EXPECT_EQ(close(std::string(1000, 'x')).ended.size(), kMaxEndBytes);
  Manifest wild = close("off");
  wild.ended = "a\nb";
  EXPECT_FALSE(decode_manifest(encode_manifest(wild)));
  wild.ended = std::string(kMaxEndBytes + 1, 'x');
  EXPECT_FALSE(decode_manifest(encode_manifest(wild)));
}

TEST_F(RestoreTest, AnEndThatWasAddedOnTheWayIsRefused) {
  ASSERT_TRUE(stage.add(pages({1, 5}, 0, 3)));
  ASSERT_TRUE(stage.add(write(512, 1)));
  Manifest manifest = manifest_of_two_parts();
  manifest.ended = "off";
  const auto verified = stage.verify(manifest, state, target);
  ASSERT_FALSE(verified);
  EXPECT_THAT(verified.error().text(), HasSubstr("digest"));
}

TEST(ManifestTest, RefusesAnotherVersionAndNonsense) {
  const auto with = [](std::uint16_t version, std::uint64_t epoch, std::uint64_t base) {
    return decode_manifest(flat_message::write<schema::Manifest>([&](schema::Manifest::Builder out) {
      out.setVersion(version);
      out.setEpoch(epoch);
      out.setBase(base);
    }));
  };
  const auto version = with(2, 5, 4);
  ASSERT_FALSE(version);
  EXPECT_EQ(version.error().code(), ErrorCode::kUnsupportedVersion);
  EXPECT_THAT(version.error().text(), HasSubstr("version 2; this release reads version 1"));
  EXPECT_FALSE(with(1, 0, 0));
  EXPECT_FALSE(with(1, 5, 5));
  EXPECT_TRUE(with(1, 5, 0));
  const auto bytes = encode_manifest(kGolden);
  for (std::size_t length = 0; length < bytes.size(); ++length) EXPECT_FALSE(decode_manifest(std::span{bytes}.first(length))) << length;
}

}  // namespace
}  // namespace understudy
