// RocksDB for a handful of small records: sealed on the way in, verified on the way out, tuned to be small and quiet. Hides RocksDB.
//
// Threading: any thread, as RocksDB. Every call may block for as long as the disk does.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
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

  // kNotFound: missing, and not to be made; kUnavailable: in use by another process, or its parent directory is missing; kCorrupt.
  static Result<std::unique_ptr<SmallDb>> open(const std::filesystem::path& path, IfMissing if_missing);
  // Whether a database is there. Opens nothing.
  static bool exists(const std::filesystem::path& path);
  ~SmallDb();

  // The payload; nullopt when nothing is stored under `key`.
  Result<std::optional<std::vector<std::byte>>> get(std::string_view key) const;
  // After an error nothing is known about the record on disk, but that it is the old one or this one.
  Result<void> put(std::string_view key, std::span<const std::byte> payload, Durability durability);

  const std::filesystem::path& path() const { return path_; }

 private:
  SmallDb(std::filesystem::path path, std::unique_ptr<rocksdb::DB> db);
  const std::filesystem::path path_;
  const std::unique_ptr<rocksdb::DB> db_;
};

}  // namespace understudy
