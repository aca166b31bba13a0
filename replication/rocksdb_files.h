// What every use of RocksDB here has in common: where it lies, how it fails, and that it keeps quiet. Included by .cpp files alone, since
// only they see RocksDB.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include <rocksdb/options.h>
#include <rocksdb/slice.h>
#include <rocksdb/status.h>

#include "net/base/result.h"

namespace understudy {

inline rocksdb::Slice slice(std::string_view text) { return {text.data(), text.size()}; }
inline rocksdb::Slice slice(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

// Strict about damage, silent, without caches or compression.
rocksdb::Options quiet_options();

// kUnavailable: in use by another process; kCorrupt; else kFailed. The operation stands first.
Error to_error(const rocksdb::Status& status, const std::string& operation);

// Whether a database is there. Opens nothing.
bool database_exists(const std::filesystem::path& path);
// Makes the directory of a database that is not there, and its entry in the parent durable: RocksDB syncs what is inside only. The parent
// has to be there (kUnavailable): a store on a disk that is not mounted must not start empty on the one below. kCorrupt: the directory
// holds something else.
Result<void> make_database_directory(const std::filesystem::path& path, const std::string& operation);

}  // namespace understudy
