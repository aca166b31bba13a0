#include "replication/small_db.h"

#include <array>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <unistd.h>

#include <rocksdb/db.h>
#include <rocksdb/options.h>
#include <rocksdb/write_batch.h>

#include "net/base/check.h"
#include "net/base/unique_fd.h"
#include "replication/rocksdb_files.h"
#include "replication/sealed_record.h"

namespace understudy {

namespace {
constexpr std::size_t kMemtableBytes = 256 << 10;
constexpr std::string_view kTallyKey = "synced-records";
constexpr const char* kTallyFile = "SYNCED";

rocksdb::Options small_options() {
  auto options = quiet_options();
  options.write_buffer_size = kMemtableBytes;
  options.arena_block_size = kMemtableBytes / 8;
  options.max_total_wal_size = 4 * kMemtableBytes;
  options.max_open_files = 32;
  return options;
}
}  // namespace

SmallDb::SmallDb(std::filesystem::path path, std::unique_ptr<rocksdb::DB> db) : path_{std::move(path)}, db_{std::move(db)} {}
SmallDb::~SmallDb() = default;

bool SmallDb::exists(const std::filesystem::path& path) { return database_exists(path); }

Result<std::unique_ptr<SmallDb>> SmallDb::open(const std::filesystem::path& path, IfMissing if_missing) {
  const std::string operation = "open store " + path.string();
  auto options = small_options();
  if (!exists(path)) {
    if (if_missing == IfMissing::kFail) return Error{ErrorCode::kNotFound, operation + ": there is none"};
    US_TRY(make_database_directory(path, operation));
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

Result<void> SmallDb::put(std::span<const Record> records, Durability durability) {
  US_CHECK(!records.empty());
  const bool synced = durability == Durability::kSynced;
  std::unique_lock lock{mutex_, std::defer_lock};
  if (synced) lock.lock();
  rocksdb::WriteBatch batch;
  rocksdb::Status status;
  for (const Record& record : records)
    if (status.ok()) status = batch.Put(slice(record.key), slice(seal_record(record.key, record.payload)));
  if (synced && status.ok()) status = batch.Put(slice(kTallyKey), slice(seal_record(kTallyKey, std::as_bytes(std::span{&tally_, 1}))));
  rocksdb::WriteOptions options;
  options.sync = synced;
  if (status.ok()) status = db_->Write(options, &batch);
  if (!status.ok()) return to_error(status, "store " + path_.string() + ": write \"" + std::string{records.front().key} + "\"");
  if (synced) note_tally(tally_++);
  return {};
}

Result<void> SmallDb::put(std::string_view key, std::span<const std::byte> payload, Durability durability) {
  const Record record{key, payload};
  return put(std::span{&record, 1}, durability);
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
