#include "replication/rocksdb_files.h"

#include <cerrno>
#include <cstdarg>
#include <fcntl.h>
#include <memory>
#include <unistd.h>

#include <rocksdb/env.h>
#include <rocksdb/table.h>
#include <sys/stat.h>

#include "net/base/unique_fd.h"

namespace understudy {

namespace {

// Our log has an error's text already; RocksDB's own log would only grow.
class SilentLogger final : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
};

Result<void> make_directory(const std::filesystem::path& path) {
  const auto absolute = std::filesystem::absolute(path).lexically_normal();
  const auto clean = absolute.has_filename() ? absolute : absolute.parent_path();
  if (::mkdir(clean.c_str(), 0700) != 0) {
    if (errno == EEXIST) return {};
    return Error::from_errno("make the store's directory " + clean.string());
  }
  const UniqueFd parent{::open(clean.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!parent || ::fsync(parent.get()) != 0) return Error::from_errno("sync directory " + clean.parent_path().string());
  return {};
}

}  // namespace

rocksdb::Options quiet_options() {
  rocksdb::Options options;
  options.paranoid_checks = true;
  // A record that was synced must never vanish: damage anywhere but in an unfinished record at the log's end refuses the store.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.max_background_jobs = 2;
  options.manifest_preallocation_size = 64 << 10;
  options.keep_log_file_num = 1;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.compression = rocksdb::kNoCompression;
  options.info_log = std::make_shared<SilentLogger>();
  rocksdb::BlockBasedTableOptions table;
  table.no_block_cache = true;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

Error to_error(const rocksdb::Status& status, const std::string& operation) {
  const std::string text = status.ToString();
  if (status.IsIOError() && text.find("lock") != std::string::npos)
    return Error{ErrorCode::kUnavailable, operation + ": in use by another process: stop that one, or give each its own directory"};
  const auto code = status.IsCorruption() ? ErrorCode::kCorrupt : ErrorCode::kFailed;
  return Error{code, operation + ": " + text.substr(0, text.find('\n'))};
}

bool database_exists(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path / "CURRENT", ignored);
}

Result<void> make_database_directory(const std::filesystem::path& path, const std::string& operation) {
  // Other files without RocksDB's CURRENT: what is left of a damaged store, or no store at all. Starting empty there would forget terms.
  std::error_code error;
  if (std::filesystem::exists(path, error) && !std::filesystem::is_empty(path, error))
    return Error{ErrorCode::kCorrupt, operation + ": the directory is not empty, and holds no store: restore it, or name an empty one"};
  return make_directory(path);
}

}  // namespace understudy
