#include "replication/rocksdb_cut_store.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include "replication/sealed_record.h"
#include "tests/support/fake_disk.h"

namespace understudy {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr std::size_t kPages = 64;
constexpr std::uint64_t kDiskBytes = 64 << 10;

std::vector<std::byte> bytes_of(std::size_t count, std::uint8_t value) { return std::vector<std::byte>(count, std::byte{value}); }

CutPages pages_of(std::vector<std::uint32_t> pages, std::uint8_t value, std::vector<std::uint32_t> zeros = {}) {
  CutPages out{.pages = std::move(pages), .zero_pages = std::move(zeros)};
  out.contents = bytes_of(out.pages.size() * kPageSizeBytes, value);
  return out;
}

DiskWrite write_of(std::uint64_t offset, std::uint32_t length, std::uint8_t value) {
  DiskWrite write{.disk = 0, .offset_bytes = offset, .length_bytes = length, .zeros = value == 0, .data = {}};
  if (write.zeros) return write;
  const auto bytes = std::make_shared<std::vector<std::byte>>(length, std::byte{value});
  write.data = {*bytes, bytes};
  return write;
}

constexpr CommittedEpoch at(std::uint64_t term, std::uint64_t epoch) { return {Term{term}, Epoch{epoch}}; }

class RocksDbCutStoreTest : public testing::TestWithParam<bool> {
 protected:
  RocksDbCutStoreTest() {
    std::string path = (fs::temp_directory_path() / "understudy-cut-XXXXXX").string();
    root_ = ::mkdtemp(path.data());
  }
  ~RocksDbCutStoreTest() override { fs::remove_all(root_); }

  fs::path path() const { return root_ / "cut"; }
  CutStoreConfig config() const { return {.page_count = kPages, .disks = {kDiskBytes}, .blobs = GetParam()}; }
  std::unique_ptr<RocksDbCutStore> open() {
    auto store = RocksDbCutStore::open(path(), config());
    EXPECT_TRUE(store) << store.error().text();
    return store ? std::move(*store) : nullptr;
  }
  static std::map<std::uint64_t, std::uint8_t> pages(const CutStore& store) {
    std::map<std::uint64_t, std::uint8_t> out;
    const auto read = store.read_pages([&](PageIndex page, std::span<const std::byte, kPageSizeBytes> bytes) {
      EXPECT_EQ(bytes[0], bytes[kPageSizeBytes - 1]);
      out[page.raw()] = std::to_integer<std::uint8_t>(bytes[0]);
    });
    EXPECT_TRUE(read) << read.error().text();
    return out;
  }
  static fake::DiskBytes disk(const CutStore& store) {
    fake::DiskBytes image(kDiskBytes);
    const auto read = store.read_journal([&](const DiskWrite& write) { fake::write_into(image, write); });
    EXPECT_TRUE(read) << read.error().text();
    return image;
  }
  // The database without our store around it; changes one record's bytes.
  void damage(const std::string& family, std::size_t byte) {
    std::vector<rocksdb::ColumnFamilyDescriptor> families;
    for (const char* name : {"default", "cut", "journal", "pages", "blocks"}) families.emplace_back(name, rocksdb::ColumnFamilyOptions{});
    std::vector<rocksdb::ColumnFamilyHandle*> handles;
    rocksdb::DB* db = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open({}, path().string(), families, &handles, &db).ok());
    for (auto* const handle : handles) {
      if (handle->GetName() == family) {
        const std::unique_ptr<rocksdb::Iterator> record{db->NewIterator({}, handle)};
        record->SeekToLast();
        ASSERT_TRUE(record->Valid());
        std::string value = record->value().ToString();
        ASSERT_LT(byte, value.size());
        value[byte] = static_cast<char>(value[byte] ^ 1);
        ASSERT_TRUE(db->Put({}, handle, record->key(), value).ok());
      }
      ASSERT_TRUE(db->DestroyColumnFamilyHandle(handle).ok());
    }
    delete db;
  }
  fs::path root_;
};

INSTANTIATE_TEST_SUITE_P(PagesIn, RocksDbCutStoreTest, testing::Bool(), [](const auto& kind) { return kind.param ? "Blobs" : "Tables"; });

TEST_P(RocksDbCutStoreTest, ANewStoreHoldsNoCut) {
  const auto store = open();
  EXPECT_EQ(*store->cut(), std::nullopt);
  EXPECT_EQ(*store->image_holds(), CommittedEpoch{});
  EXPECT_TRUE(pages(*store).empty());
}

TEST_P(RocksDbCutStoreTest, ACommittedCutIsThereAfterAReopen) {
  const StoredCut cut{.at = at(3, 40), .ended = "powered off", .state = bytes_of(1000, 9)};
  {
    const auto store = open();
    ASSERT_TRUE(store->put_pages(pages_of({1, 5, 9}, 7)));
    ASSERT_TRUE(store->put_journal(at(3, 40), std::vector{write_of(0, 4096, 5), write_of(1024, 512, 0)}));
    ASSERT_TRUE(store->commit(cut));
  }
  const auto store = open();
  EXPECT_EQ(*store->cut(), cut);
  EXPECT_EQ(pages(*store), (std::map<std::uint64_t, std::uint8_t>{{1, 7}, {5, 7}, {9, 7}}));
  fake::DiskBytes expected(kDiskBytes);
  fake::write_into(expected, write_of(0, 4096, 5));
  fake::write_into(expected, write_of(1024, 512, 0));
  EXPECT_EQ(disk(*store), expected);
}

TEST_P(RocksDbCutStoreTest, WhatIsNotCommittedChangesNothing) {
  const StoredCut cut{.at = at(3, 40), .state = bytes_of(10, 9)};
  const auto check = [&](const CutStore& store) {
    EXPECT_EQ(*store.cut(), cut);
    EXPECT_EQ(pages(store), (std::map<std::uint64_t, std::uint8_t>{{1, 7}, {5, 7}}));
    fake::DiskBytes expected(kDiskBytes);
    fake::write_into(expected, write_of(0, 512, 5));
    EXPECT_EQ(disk(store), expected);
  };
  {
    const auto store = open();
    ASSERT_TRUE(store->put_pages(pages_of({1, 5}, 7)));
    ASSERT_TRUE(store->put_journal(at(3, 40), std::vector{write_of(0, 512, 5)}));
    ASSERT_TRUE(store->commit(cut));
    ASSERT_TRUE(store->put_pages(pages_of({5, 6}, 8, {1})));
    ASSERT_TRUE(store->put_journal(at(3, 41), std::vector{write_of(0, 512, 6)}));
    check(*store);
  }
  check(*open());
  // And it does not come back with the next one.
  const auto store = open();
  ASSERT_TRUE(store->commit({.at = at(3, 50)}));
  EXPECT_EQ(pages(*store), (std::map<std::uint64_t, std::uint8_t>{{1, 7}, {5, 7}}));
}

TEST_P(RocksDbCutStoreTest, ThePagesNewestCopyCounts) {
  const auto store = open();
  ASSERT_TRUE(store->put_pages(pages_of({1, 2, 3}, 7)));
  ASSERT_TRUE(store->put_pages(pages_of({1, 4}, 8, {3, 10})));
  ASSERT_TRUE(store->commit({.at = at(1, 1)}));
  EXPECT_EQ(pages(*store), (std::map<std::uint64_t, std::uint8_t>{{1, 8}, {2, 7}, {4, 8}}));
  ASSERT_TRUE(store->put_pages(pages_of({3}, 9, {1, 2})));
  ASSERT_TRUE(store->put_pages(pages_of({2}, 10)));
  ASSERT_TRUE(store->commit({.at = at(1, 2)}));
  EXPECT_EQ(pages(*store), (std::map<std::uint64_t, std::uint8_t>{{2, 10}, {3, 9}, {4, 8}}));
}

TEST_P(RocksDbCutStoreTest, TheJournalIsTrimmedThroughWhatTheImageHolds) {
  const auto store = open();
  for (std::uint64_t epoch = 1; epoch <= 3; ++epoch) {
    ASSERT_TRUE(store->put_journal(at(2, epoch), std::vector{write_of(epoch * 512, 512, static_cast<std::uint8_t>(epoch))}));
    ASSERT_TRUE(store->commit({.at = at(2, epoch)}));
  }
  ASSERT_TRUE(store->trim(at(2, 2)));
  EXPECT_EQ(*store->image_holds(), at(2, 2));
  fake::DiskBytes expected(kDiskBytes);
  fake::write_into(expected, write_of(3 * 512, 512, 3));
  EXPECT_EQ(disk(*store), expected);
}

TEST_P(RocksDbCutStoreTest, AForgottenCutIsGoneWithAllItHad) {
  const auto store = open();
  ASSERT_TRUE(store->put_pages(pages_of({1}, 7)));
  ASSERT_TRUE(store->put_journal(at(2, 1), std::vector{write_of(0, 512, 1)}));
  ASSERT_TRUE(store->commit({.at = at(2, 1)}));
  ASSERT_TRUE(store->forget());
  EXPECT_EQ(*store->cut(), std::nullopt);
  ASSERT_TRUE(store->commit({.at = at(2, 1)}));
  EXPECT_TRUE(pages(*store).empty());
  EXPECT_EQ(disk(*store), fake::DiskBytes(kDiskBytes));
}

TEST_P(RocksDbCutStoreTest, ACutOfAnotherGuestsShapeIsDropped) {
  ASSERT_TRUE(open()->commit({.at = at(2, 1)}));
  auto other = config();
  other.page_count = kPages * 2;
  const auto store = RocksDbCutStore::open(path(), other);
  ASSERT_TRUE(store) << store.error().text();
  EXPECT_EQ(*(*store)->cut(), std::nullopt);
}

TEST_P(RocksDbCutStoreTest, EveryRecordIsCheckedWhenItIsRead) {
  const struct {
    const char* family;
    const char* named;
  } cases[] = {{"cut", "format"}, {"pages", "page 5 of cut 1"}, {"journal", "journal entry 0 of epoch 1"}, {"blocks", "image"}};
  for (const auto& damaged : cases) {
    fs::remove_all(path());
    {
      const auto store = open();
      ASSERT_TRUE(store->put_pages(pages_of({1, 5}, 7)));
      ASSERT_TRUE(store->put_journal(at(2, 1), std::vector{write_of(0, 512, 1)}));
      ASSERT_TRUE(store->commit({.at = at(2, 1)}));
      ASSERT_TRUE(store->trim(at(1, 1)));
    }
    damage(damaged.family, kSealBytes + 3);
    auto store = RocksDbCutStore::open(path(), config());
    Error error{ErrorCode::kFailed, "no error"};
    if (!store) {
      error = store.error();
    } else if (const auto image = (*store)->image_holds(); !image) {
      error = image.error();
    } else if (const auto read = (*store)->read_pages([](PageIndex, auto) {}); !read) {
      error = read.error();
    } else if (const auto journal = (*store)->read_journal([](const DiskWrite&) {}); !journal) {
      error = journal.error();
    }
    EXPECT_EQ(error.code(), ErrorCode::kCorrupt) << damaged.family << ": " << error.text();
    EXPECT_THAT(error.text(), HasSubstr(damaged.named));
  }
}

TEST_P(RocksDbCutStoreTest, AJournalEntryThatFitsNoDiskIsRefused) {
  {
    const auto store = open();
    ASSERT_TRUE(store->put_journal(at(2, 1), std::vector{write_of(kDiskBytes, 512, 1)}));
    ASSERT_TRUE(store->commit({.at = at(2, 1)}));
  }
  const auto read = open()->read_journal([](const DiskWrite&) { FAIL(); });
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code(), ErrorCode::kCorrupt);
  EXPECT_THAT(read.error().text(), HasSubstr("512 bytes at 65536 of disk 0"));
}

TEST_P(RocksDbCutStoreTest, AStoreInUse) {
  const auto store = open();
  const auto second = RocksDbCutStore::open(path(), config());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), ErrorCode::kUnavailable);
}

// Against a model, over many cuts and reopenings.
TEST_P(RocksDbCutStoreTest, HoldsWhatAModelHolds) {
  std::mt19937 random{11};
  std::map<std::uint64_t, std::uint8_t> committed, coming;
  auto store = open();
  for (std::uint64_t epoch = 1; epoch <= 60; ++epoch) {
    for (auto puts = random() % 5; puts > 0; --puts) {
      CutPages pages;
      for (std::uint32_t page = 0; page < kPages; ++page) {
        if (random() % 4 != 0) continue;
        const auto value = static_cast<std::uint8_t>(1 + random() % 200);
        if (random() % 3 == 0) {
          pages.zero_pages.push_back(page);
          coming.erase(page);
        } else {
          pages.pages.push_back(page);
          pages.contents.resize(pages.contents.size() + kPageSizeBytes, std::byte{value});
          coming[page] = value;
        }
      }
      ASSERT_TRUE(store->put_pages(pages));
    }
    if (random() % 3 != 0) {
      ASSERT_TRUE(store->commit({.at = at(1, epoch)}));
      committed = coming;
    }
    if (random() % 10 == 0) {
      store.reset();
      store = open();
      coming = committed;
    }
    ASSERT_EQ(pages(*store), committed) << "epoch " << epoch;
  }
}

// What this release wrote must be read by those to come.
fs::path golden(const std::string& name) { return fs::path{UNDERSTUDY_GOLDEN_DIR} / "cut-v1" / name; }

TEST(RocksDbCutStoreGolden, ADatabaseOfFormat1) {
  std::string root = (fs::temp_directory_path() / "understudy-cut-XXXXXX").string();
  ASSERT_NE(::mkdtemp(root.data()), nullptr);
  const fs::path path = fs::path{root} / "cut";
  // To make it anew, for a new format: RocksDB itself keeps its files readable.
  if (std::getenv("UNDERSTUDY_WRITE_GOLDEN") != nullptr) {
    fs::remove_all(golden(""));
    auto store = RocksDbCutStore::open(golden(""), {.page_count = kPages, .disks = {kDiskBytes}});
    ASSERT_TRUE(store);
    ASSERT_TRUE((*store)->put_pages(pages_of({3, 60}, 0x5a)));
    ASSERT_TRUE((*store)->put_journal(at(7, 99), std::vector{write_of(512, 1024, 0x33), write_of(8192, 4096, 0)}));
    ASSERT_TRUE((*store)->commit({.at = at(7, 99), .ended = "powered off at noon", .state = bytes_of(33, 0x11)}));
    ASSERT_TRUE((*store)->trim(at(7, 98)));
  }
  fs::copy(golden(""), path, fs::copy_options::recursive);
  const auto store = RocksDbCutStore::open(path, {.page_count = kPages, .disks = {kDiskBytes}});
  ASSERT_TRUE(store) << store.error().text();
  EXPECT_EQ(*(*store)->cut(), (StoredCut{.at = at(7, 99), .ended = "powered off at noon", .state = bytes_of(33, 0x11)}));
  EXPECT_EQ(*(*store)->image_holds(), at(7, 98));
  std::vector<std::uint64_t> pages;
  ASSERT_TRUE((*store)->read_pages([&](PageIndex page, auto bytes) {
    pages.push_back(page.raw());
    EXPECT_EQ(bytes[17], std::byte{0x5a});
  }));
  EXPECT_EQ(pages, (std::vector<std::uint64_t>{3, 60}));
  std::vector<std::pair<std::uint64_t, bool>> writes;
  ASSERT_TRUE((*store)->read_journal([&](const DiskWrite& write) { writes.emplace_back(write.offset_bytes, write.zeros); }));
  EXPECT_EQ(writes, (std::vector<std::pair<std::uint64_t, bool>>{{512, false}, {8192, true}}));
  fs::remove_all(root);
}

}  // namespace
}  // namespace understudy
