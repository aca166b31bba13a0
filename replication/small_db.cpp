#include "replication/small_db.h"

#include <cerrno>
#include <cstdarg>
#include <fcntl.h>
#include <string>
#include <unistd.h>

#include <rocksdb/db.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <sys/stat.h>

#include "net/base/log.h"
#include "net/base/unique_fd.h"
#include "replication/sealed_record.h"

namespace understudy {

namespace {
constexpr std::size_t kMemtableBytes = 256 << 10;

// Our log has an error's text already; RocksDB's own log would only grow.
class SilentLogger final : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
};

rocksdb::Options small_options() {
  rocksdb::Options options;
  options.paranoid_checks = true;
  // A record that was synced must never vanish: damage anywhere but in an unfinished record at the log's end refuses the store.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.write_buffer_size = kMemtableBytes;
  options.arena_block_size = kMemtableBytes / 8;
  options.max_total_wal_size = 4 * kMemtableBytes;
  options.max_write_buffer_number = 4;  // a flush after each synced record must not make the next one wait
  options.max_background_jobs = 2;
  options.track_and_verify_wals_in_manifest = true;
  options.max_open_files = 32;
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

// Makes the directory, and its entry in the parent durable: RocksDB syncs what is inside only. The parent has to be there: a store on a
// disk that is not mounted must not start empty on the one below.
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

SmallDb::SmallDb(std::filesystem::path path, std::unique_ptr<rocksdb::DB> db) : path_{std::move(path)}, db_{std::move(db)} {}

SmallDb::~SmallDb() {
  if (const auto status = db_->Flush(rocksdb::FlushOptions{}); !status.ok())
    log(Severity::kWarning, "store closed with records in its log only", {{"path", path_.string()}, {"error", status.ToString()}});
}

bool SmallDb::exists(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path / "CURRENT", ignored);
}

Result<std::unique_ptr<SmallDb>> SmallDb::open(const std::filesystem::path& path, IfMissing if_missing) {
  const std::string operation = "open store " + path.string();
  auto options = small_options();
  if (!exists(path)) {
    if (if_missing == IfMissing::kFail) return Error{ErrorCode::kNotFound, operation + ": there is none"};
    // Other files without RocksDB's CURRENT: what is left of a damaged store, or no store at all. Starting empty there would forget terms.
    std::error_code error;
    if (std::filesystem::exists(path, error) && !std::filesystem::is_empty(path, error))
      return Error{ErrorCode::kCorrupt, operation + ": the directory is not empty, and holds no store: restore it, or name an empty one"};
    US_TRY(make_directory(path));
    options.create_if_missing = true;
  }
  rocksdb::DB* raw = nullptr;
  if (const auto status = rocksdb::DB::Open(options, path.string(), &raw); !status.ok()) return to_error(status, operation);
  return std::unique_ptr<SmallDb>{new SmallDb{path, std::unique_ptr<rocksdb::DB>{raw}}};
}

Result<std::optional<std::vector<std::byte>>> SmallDb::get(std::string_view key) const {
  const std::string operation = "store " + path_.string();
  std::string value;
  const auto status = db_->Get(rocksdb::ReadOptions{}, rocksdb::Slice{key.data(), key.size()}, &value);
  if (status.IsNotFound()) return std::optional<std::vector<std::byte>>{};
  if (!status.ok()) return to_error(status, operation + ": read \"" + std::string{key} + "\"");
  const auto payload = unseal_record(key, std::as_bytes(std::span{value}));
  if (!payload) return payload.error().within(operation);
  return std::optional{std::vector<std::byte>{payload->begin(), payload->end()}};
}

Result<void> SmallDb::put(std::string_view key, std::span<const std::byte> payload, Durability durability) {
  const auto record = seal_record(key, payload);
  rocksdb::WriteOptions options;
  options.sync = durability == Durability::kSynced;
  const auto status = db_->Put(options, rocksdb::Slice{key.data(), key.size()},
                               rocksdb::Slice{reinterpret_cast<const char*>(record.data()), record.size()});
  if (!status.ok()) return to_error(status, "store " + path_.string() + ": write \"" + std::string{key} + "\"");
  // A damaged length in the log looks like a record that a crash left unfinished, and silently ends the log. Tables have no such weakness:
  // move what matters there, in the background. (It is safe in the log already, so how the flush goes is not this record's business.)
  rocksdb::FlushOptions soon;
  soon.wait = false;
  soon.allow_write_stall = true;
  if (options.sync) db_->Flush(soon).PermitUncheckedError();
  return {};
}

}  // namespace understudy
