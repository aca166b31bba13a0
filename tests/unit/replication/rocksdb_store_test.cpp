#include "replication/rocksdb_store.h"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <spawn.h>
#include <string>
#include <unistd.h>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rocksdb/db.h>
#include <sys/wait.h>

#include "replication/sealed_record.h"

namespace understudy {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

constexpr PairId kPair{42};
const NodeIdentity kIdentity{.pair = kPair, .node = NodeId::kB, .incarnation = Incarnation{0x1122334455667788}};

class RocksDbStoreTest : public testing::Test {
 protected:
  RocksDbStoreTest() {
    std::string path = (fs::temp_directory_path() / "understudy-store-XXXXXX").string();
    root_ = ::mkdtemp(path.data());
  }
  ~RocksDbStoreTest() override { fs::remove_all(root_); }

  fs::path path() const { return root_ / "store"; }
  std::unique_ptr<RocksDbStore> open() {
    auto store = RocksDbStore::open(path(), kPair, NodeId::kB);
    EXPECT_TRUE(store) << store.error().text();
    return store ? std::move(*store) : nullptr;
  }
  Error open_error(PairId pair = kPair, NodeId node = NodeId::kB) {
    auto store = RocksDbStore::open(path(), pair, node);
    EXPECT_FALSE(store);
    return store ? Error{ErrorCode::kFailed, "opened"} : store.error();
  }
  void fill() {
    const auto store = open();
    ASSERT_TRUE(store->put_identity(kIdentity));
    ASSERT_TRUE(store->put_term(Term{6}));
    ASSERT_TRUE(store->put_promise(Term{7}));
    ASSERT_TRUE(store->put_committed({Term{6}, Epoch{4812}}));
  }
  // The database without our store around it.
  std::unique_ptr<rocksdb::DB> raw(bool create = false) {
    rocksdb::Options options;
    options.create_if_missing = create;
    rocksdb::DB* db = nullptr;
    EXPECT_TRUE(rocksdb::DB::Open(options, path().string(), &db).ok());
    return std::unique_ptr<rocksdb::DB>{db};
  }
  std::string raw_get(const std::string& key) {
    std::string value;
    EXPECT_TRUE(raw()->Get({}, key, &value).ok());
    return value;
  }
  // `unit_store_process` at this store, its standard output being `output`.
  pid_t start_other_process(std::string task, int output) {
    std::string program = UNDERSTUDY_STORE_PROCESS;
    std::string store = path();
    char* const arguments[] = {program.data(), store.data(), task.data(), nullptr};
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    pid_t child = -1;
    EXPECT_EQ(::posix_spawn(&child, program.c_str(), &actions, nullptr, arguments, environ), 0);
    ::posix_spawn_file_actions_destroy(&actions);
    return child;
  }
  fs::path root_;
};

std::string file(const fs::path& path) {
  std::ifstream in{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}
fs::path golden(const std::string& key) { return fs::path{UNDERSTUDY_GOLDEN_DIR} / "store-v1" / (key + ".record"); }
constexpr const char* kKeys[] = {"identity", "term", "promise", "committed"};

TEST_F(RocksDbStoreTest, ANewStoreHoldsNothing) {
  const auto store = open();
  EXPECT_EQ(*store->identity(), std::nullopt);
  EXPECT_EQ(*store->term(), Term{});
  EXPECT_EQ(*store->promise(), Term{});
  EXPECT_EQ(*store->committed(), CommittedEpoch{});
}

TEST_F(RocksDbStoreTest, RemembersOverAReopen) {
  fill();
  const auto store = open();
  EXPECT_EQ(*store->identity(), kIdentity);
  EXPECT_EQ(*store->term(), Term{6});
  EXPECT_EQ(*store->promise(), Term{7});
  EXPECT_EQ(*store->committed(), (CommittedEpoch{Term{6}, Epoch{4812}}));
}

TEST_F(RocksDbStoreTest, RemembersHowTheGuestEndedUntilItLives) {
  EXPECT_EQ(*open()->end(), "");
  ASSERT_TRUE(open()->put_end("the guest powered off at noon"));
  EXPECT_EQ(*open()->end(), "the guest powered off at noon");
  ASSERT_TRUE(open()->put_end(""));
  EXPECT_EQ(*open()->end(), "");
}

TEST_F(RocksDbStoreTest, RemembersAnOperatorsOrders) {
  EXPECT_TRUE(open()->orders()->empty());
  const std::vector<std::byte> orders{std::byte{1}, std::byte{2}};
  ASSERT_TRUE(open()->put_orders(orders));
  EXPECT_EQ(*open()->orders(), orders);
}

TEST_F(RocksDbStoreTest, SpoiledCutsStaySpoiled) {
  EXPECT_EQ(*open()->spoiled(), CommittedEpoch{});
  ASSERT_TRUE(open()->put_spoiled({Term{4}, Epoch{17}}));
  ASSERT_TRUE(open()->put_spoiled({Term{3}, Epoch{99}})) << "a lower one changes nothing";
  EXPECT_EQ(*open()->spoiled(), (CommittedEpoch{Term{4}, Epoch{17}}));
}

TEST_F(RocksDbStoreTest, AHoldersTermSpoilsEveryCutBelowIt) {
  ASSERT_TRUE(open()->put_spoiled({Term{4}, Epoch{17}}));
  ASSERT_TRUE(open()->put_holding(Term{4}));
  EXPECT_EQ(*open()->spoiled(), (CommittedEpoch{Term{4}, Epoch{17}}));
  ASSERT_TRUE(open()->put_holding(Term{6}));
  const auto store = open();
  EXPECT_EQ(*store->spoiled(), (CommittedEpoch{Term{6}, Epoch{}}));
  EXPECT_EQ(*store->term(), Term{6});
  const auto lower = store->put_holding(Term{5});
  ASSERT_FALSE(lower);
  EXPECT_EQ(lower.error().code(), ErrorCode::kRefused);
  EXPECT_EQ(*store->term(), Term{6});
}

TEST_F(RocksDbStoreTest, SurvivesAKilledProcess) {
  // Nothing is flushed or closed on the way out. (The page cache survives; what sync adds to that is the file system's.)
  const pid_t child = start_other_process("die", STDOUT_FILENO);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  const auto store = open();
  EXPECT_EQ(*store->promise(), Term{9});
  EXPECT_EQ(*store->committed(), (CommittedEpoch{Term{8}, Epoch{1}}));
}

TEST_F(RocksDbStoreTest, NeverLowersTermOrPromise) {
  const auto store = open();
  ASSERT_TRUE(store->put_term(Term{5}));
  ASSERT_TRUE(store->put_promise(Term{6}));
  const auto lower_term = store->put_term(Term{4});
  ASSERT_FALSE(lower_term);
  EXPECT_EQ(lower_term.error().code(), ErrorCode::kRefused);
  EXPECT_THAT(lower_term.error().text(), HasSubstr("term 4 is below the stored 5"));
  const auto lower_promise = store->put_promise(Term{5});
  ASSERT_FALSE(lower_promise);
  EXPECT_EQ(lower_promise.error().code(), ErrorCode::kRefused);
  EXPECT_TRUE(store->put_term(Term{5}));
  EXPECT_EQ(*store->term(), Term{5});
  EXPECT_EQ(*store->promise(), Term{6});
}

TEST_F(RocksDbStoreTest, AnotherOwnersStoreIsRefusedAndUnharmed) {
  fill();
  for (const auto& [pair, node] : {std::pair{PairId{43}, NodeId::kB}, std::pair{kPair, NodeId::kA}}) {
    const auto error = open_error(pair, node);
    EXPECT_EQ(error.code(), ErrorCode::kRefused);
    EXPECT_THAT(error.text(),
                HasSubstr("it is of pair 42, node b, and this is pair " + std::to_string(pair.raw()) + ", node " + name_of(node)));
  }
  EXPECT_EQ(*open()->identity(), kIdentity);
}

TEST_F(RocksDbStoreTest, AnIdentityOfAnotherOwnerIsRefused) {
  const auto store = open();
  auto other = kIdentity;
  other.node = NodeId::kA;
  EXPECT_EQ(store->put_identity(other).error().code(), ErrorCode::kRefused);
  EXPECT_EQ(*store->identity(), std::nullopt);
}

TEST_F(RocksDbStoreTest, AStoreInUse) {
  const auto store = open();
  const auto error = open_error();
  EXPECT_EQ(error.code(), ErrorCode::kUnavailable);
  EXPECT_THAT(error.text(), HasSubstr("in use by another process"));
}

TEST_F(RocksDbStoreTest, AStoreInUseByAnotherProcess) {
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = start_other_process("hold", ready[1]);
  ::close(ready[1]);
  char answer = 0;
  EXPECT_EQ(::read(ready[0], &answer, 1), 1);
  EXPECT_EQ(answer, 'y');
  const auto error = open_error();
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(ready[0]);
  EXPECT_EQ(error.code(), ErrorCode::kUnavailable);
  EXPECT_THAT(error.text(), HasSubstr("in use by another process"));
}

TEST_F(RocksDbStoreTest, AMissingParentIsNotMade) {
  const auto store = RocksDbStore::open(root_ / "not-mounted" / "store", kPair, NodeId::kB);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code(), ErrorCode::kUnavailable);
  EXPECT_THAT(store.error().text(), HasSubstr("No such file or directory"));
}

TEST_F(RocksDbStoreTest, ADirectoryWithOtherFilesIsNotTakenForANewStore) {
  fill();
  fs::remove(path() / "CURRENT");
  const auto error = open_error();
  EXPECT_EQ(error.code(), ErrorCode::kCorrupt);
  EXPECT_THAT(error.text(), HasSubstr("holds no store"));
}

TEST_F(RocksDbStoreTest, NoFlippedBitOfARecordIsBelieved) {
  fill();
  for (const std::string key : kKeys) {
    const auto good = raw_get(key);
    for (std::size_t byte = 0; byte < good.size(); byte += 3) {
      auto bad = good;
      bad[byte] = static_cast<char>(bad[byte] ^ 0x10);
      ASSERT_TRUE(raw()->Put({}, key, bad).ok());
      const auto error = open_error();
      EXPECT_TRUE(error.code() == ErrorCode::kCorrupt || error.code() == ErrorCode::kUnsupportedVersion) << error.text();
      EXPECT_THAT(error.text(), HasSubstr("\"" + key + "\"")) << byte;
    }
    ASSERT_TRUE(raw()->Put({}, key, good).ok());
  }
  EXPECT_TRUE(open());
}

TEST_F(RocksDbStoreTest, ARecordUnderAnothersKeyIsDamage) {
  fill();
  const auto promise = raw_get("promise");
  ASSERT_TRUE(raw()->Put({}, "term", promise).ok());
  EXPECT_EQ(open_error().code(), ErrorCode::kCorrupt);
}

TEST_F(RocksDbStoreTest, DamagedFilesNeverLowerAPromise) {
  // Bytes of all files are hit, one at a time: either the store is refused, or it still knows term and promise.
  fill();
  const auto backup = root_ / "backup";
  fs::copy(path(), backup, fs::copy_options::recursive);
  int refused = 0;
  for (const auto& entry : fs::directory_iterator{backup}) {
    const auto name = entry.path().filename();
    if (name.string().starts_with("OPTIONS") || name == "LOCK") continue;  // not read
    const auto good = file(entry.path());
    for (std::size_t byte = 0; byte < good.size(); byte += 7) {
      fs::remove_all(path());
      fs::copy(backup, path(), fs::copy_options::recursive);
      auto bad = good;
      bad[byte] = static_cast<char>(bad[byte] ^ 0x10);
      std::ofstream{path() / name, std::ios::binary | std::ios::trunc} << bad;
      const auto store = RocksDbStore::open(path(), kPair, NodeId::kB);
      if (!store) {
        ++refused;
        continue;
      }
      EXPECT_EQ((*store)->promise().value_or(Term{7}), Term{7}) << name << " byte " << byte;
      EXPECT_EQ((*store)->term().value_or(Term{6}), Term{6}) << name << " byte " << byte;
    }
  }
  EXPECT_GT(refused, 0);
}

TEST_F(RocksDbStoreTest, ARecordOfANewerReleaseIsRefused) {
  fill();
  auto newer = raw_get("term");
  newer[4] = 2;
  ASSERT_TRUE(raw()->Put({}, "term", newer).ok());
  const auto error = open_error();
  EXPECT_EQ(error.code(), ErrorCode::kUnsupportedVersion);
  EXPECT_THAT(error.text(), HasSubstr("has format version 2; this release reads version 1"));
}

TEST_F(RocksDbStoreTest, WritesTheGoldenRecords) {
  fill();
  for (const std::string key : kKeys) EXPECT_EQ(raw_get(key), file(golden(key))) << key << ": the stored format changed";
}

TEST_F(RocksDbStoreTest, ReadsTheGoldenRecords) {
  {
    const auto db = raw(true);
    for (const std::string key : kKeys) ASSERT_TRUE(db->Put({}, key, file(golden(key))).ok());
  }
  const auto store = open();
  ASSERT_NE(store, nullptr);
  EXPECT_EQ(*store->identity(), kIdentity);
  EXPECT_EQ(*store->term(), Term{6});
  EXPECT_EQ(*store->promise(), Term{7});
  EXPECT_EQ(*store->committed(), (CommittedEpoch{Term{6}, Epoch{4812}}));
}

TEST_F(RocksDbStoreTest, StaysSmallUnderManyCommits) {
  const auto store = open();
  for (std::uint64_t epoch = 1; epoch <= 50'000; ++epoch) ASSERT_TRUE(store->put_committed({Term{1}, Epoch{epoch}}));
  std::uintmax_t bytes = 0;
  for (const auto& entry : fs::directory_iterator{path()}) bytes += entry.file_size();
  EXPECT_LT(bytes, std::uintmax_t{8} << 20);
  EXPECT_EQ(*store->committed(), (CommittedEpoch{Term{1}, Epoch{50'000}}));
}

TEST(SealedRecord, EveryKindOfDamageIsNamed) {
  const std::vector<std::byte> payload(16, std::byte{7});
  const auto good = seal_record("key", payload);
  ASSERT_TRUE(unseal_record("key", good));
  struct Case {
    const char* name;
    std::size_t byte;
    std::size_t size;
    ErrorCode code;
    const char* text;
  };
  const Case cases[] = {
      {"shorter than a header", 0, 23, ErrorCode::kCorrupt, "23 bytes: shorter than its header"},
      {"empty", 0, 0, ErrorCode::kCorrupt, "0 bytes"},
      {"magic", 1, 40, ErrorCode::kCorrupt, "not a record"},
      {"version", 4, 40, ErrorCode::kUnsupportedVersion, "format version"},
      {"reserved", 6, 40, ErrorCode::kCorrupt, "reserved"},
      {"length", 8, 40, ErrorCode::kCorrupt, "its header says"},
      {"truncated", 40, 39, ErrorCode::kCorrupt, "15 bytes of payload; its header says 16"},
      {"longer", 41, 41, ErrorCode::kCorrupt, "17 bytes of payload"},
      {"checksum", 16, 40, ErrorCode::kCorrupt, "checksum mismatch"},
      {"payload", 24, 40, ErrorCode::kCorrupt, "checksum mismatch"},
  };
  for (const auto& c : cases) {
    auto bad = good;
    bad.resize(c.size);
    if (c.byte < bad.size()) bad[c.byte] ^= std::byte{1};
    const auto result = unseal_record("key", bad);
    ASSERT_FALSE(result) << c.name;
    EXPECT_EQ(result.error().code(), c.code) << c.name;
    EXPECT_THAT(result.error().text(), HasSubstr(c.text)) << c.name;
  }
  EXPECT_FALSE(unseal_record("other key", good));
}

}  // namespace
}  // namespace understudy
