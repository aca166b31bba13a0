#include "replication/small_db.h"

#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <unistd.h>

#include <rocksdb/db.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#include <sys/stat.h>

#include "net/base/unique_fd.h"
#include "replication/sealed_record.h"

namespace understudy {

namespace {
constexpr std::size_t kMemtableBytes = 256 << 10;
constexpr std::string_view kTallyKey = "synced-records";
constexpr const char* kTallyFile = "SYNCED";

rocksdb::Slice slice(std::string_view text) { return {text.data(), text.size()}; }
rocksdb::Slice slice(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

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
  options.max_background_jobs = 2;
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
SmallDb::~SmallDb() = default;

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
  std::unique_ptr<SmallDb> db{new SmallDb{path, std::unique_ptr<rocksdb::DB>{raw}}};
  if (auto whole = db->check_tally(); !whole) return std::move(whole.error()).within(operation);
  return db;
}

Result<std::optional<std::vector<std::byte>>> SmallDb::get(std::string_view key) const {
  const std::string operation = "store " + path_.string();
  std::string value;
  const auto status = db_->Get(rocksdb::ReadOptions{}, slice(key), &value);
  if (status.IsNotFound()) return std::optional<std::vector<std::byte>>{};
  if (!status.ok()) return to_error(status, operation + ": read \"" + std::string{key} + "\"");
  const auto payload = unseal_record(key, std::as_bytes(std::span{value}));
  if (!payload) return payload.error().within(operation);
  return std::optional{std::vector<std::byte>{payload->begin(), payload->end()}};
}

Result<void> SmallDb::put(std::string_view key, std::span<const std::byte> payload, Durability durability) {
  const bool synced = durability == Durability::kSynced;
  std::unique_lock lock{mutex_, std::defer_lock};
  if (synced) lock.lock();
  const auto record = seal_record(key, payload);
  rocksdb::WriteBatch batch;
  std::vector<std::byte> tally_record;
  rocksdb::Status status = batch.Put(slice(key), slice(record));
  if (synced && status.ok()) {
    tally_record = seal_record(kTallyKey, std::as_bytes(std::span{&tally_, 1}));
    status = batch.Put(slice(kTallyKey), slice(tally_record));
  }
  rocksdb::WriteOptions options;
  options.sync = synced;
  if (status.ok()) status = db_->Write(options, &batch);
  if (!status.ok()) return to_error(status, "store " + path_.string() + ": write \"" + std::string{key} + "\"");
  if (synced) note_tally(tally_++);
  return {};
}

Result<void> SmallDb::check_tally() {
  const auto number = [](std::span<const std::byte> bytes) {
    std::uint64_t value = 0;
    if (bytes.size() == sizeof value) std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  };
  US_ASSIGN(const auto stored, get(kTallyKey));
  if (stored) tally_ = number(*stored) + 1;

  const UniqueFd file{::open((path_ / kTallyFile).c_str(), O_RDONLY | O_CLOEXEC)};
  std::array<std::byte, kSealBytes + sizeof tally_> bytes{};
  if (!file || ::read(file.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) return {};
  const auto noted = unseal_record(kTallyKey, bytes);
  if (!noted) return {};  // it is not synced: a power loss may tear it
  if (const auto expected = number(*noted) + 1; expected > tally_)
    return Error{ErrorCode::kCorrupt, "it lost the latest " + std::to_string(expected - tally_) + " of " + std::to_string(expected) +
                                          " synced records: its files are damaged; restore the store or start a new one"};
  return {};
}

void SmallDb::note_tally(std::uint64_t tally) const {
  // Not synced, and no failure is told: it only guards against damage, and the record itself is safe.
  const auto record = seal_record(kTallyKey, std::as_bytes(std::span{&tally, 1}));
  const UniqueFd file{::open((path_ / kTallyFile).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)};
  if (file) (void)!::pwrite(file.get(), record.data(), record.size(), 0);
}

}  // namespace understudy
