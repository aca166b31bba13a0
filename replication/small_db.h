// RocksDB for a handful of small records: sealed on the way in, verified on the way out, tuned to be small and quiet. Hides RocksDB.
//
// Threading: any thread, as RocksDB. Every call may block for as long as the disk does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "net/base/result.h"

namespace rocksdb {
class DB;
}

namespace understudy {

class SmallDb {
 public:
  enum class IfMissing : std::uint8_t { kCreate, kFail };
  enum class Durability : std::uint8_t { kSynced, kBuffered };  // kBuffered survives the process, not the host

  // kNotFound: missing, and not to be made; kUnavailable: in use by another process, or its parent directory is missing; kCorrupt,
  // also when the database has lost synced records.
  static Result<std::unique_ptr<SmallDb>> open(const std::filesystem::path& path, IfMissing if_missing);
  // Whether a database is there. Opens nothing.
  static bool exists(const std::filesystem::path& path);
  ~SmallDb();

  // The payload; nullopt when nothing is stored under `key`.
  Result<std::optional<std::vector<std::byte>>> get(std::string_view key) const;
  // After an error nothing is known about the record on disk, but that it is the old one or this one.
  Result<void> put(std::string_view key, std::span<const std::byte> payload, Durability durability);
  // All of them or none.
  struct Record {
    std::string_view key;
    std::span<const std::byte> payload;
  };
  Result<void> put(std::span<const Record> records, Durability durability);

  const std::filesystem::path& path() const { return path_; }

 private:
  SmallDb(std::filesystem::path path, std::unique_ptr<rocksdb::DB> db);
  Result<void> check_tally();
  void note_tally(std::uint64_t tally) const;

  const std::filesystem::path path_;
  const std::unique_ptr<rocksdb::DB> db_;
  std::mutex mutex_;
  // Synced puts so far; guarded by mutex_. Stored with each of them, and noted in a file beside the database: RocksDB takes a damaged
  // length near the end of its log or manifest for a write that a crash left unfinished, and goes on without what follows. The file
  // remembers.
  std::uint64_t tally_ = 0;
};

}  // namespace understudy
