#include "replication/rocksdb_cut_store.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <string>

#include <rocksdb/db.h>
#include <rocksdb/statistics.h>
#include <rocksdb/write_batch.h>

#include "net/base/check.h"
#include "net/payload.h"
#include "replication/rocksdb_files.h"
#include "replication/sealed_record.h"
#include "replication/store.capnp.h"

namespace understudy {

namespace {

constexpr const char* kFormatKey = "format";
constexpr const char* kCutKey = "cut";
constexpr const char* kImageKey = "image";
enum Family : std::size_t { kDefault, kCut, kJournal, kPages, kBlocks, kFamilies };
constexpr std::array<const char*, kFamilies> kFamilyNames{"default", "cut", "journal", "pages", "blocks"};

constexpr std::size_t kJournalMemtable = std::size_t{16} << 20;
constexpr std::size_t kPagesMemtable = std::size_t{32} << 20;
// Of one write to RocksDB.
constexpr std::size_t kBatchBytes = std::size_t{1} << 20;

template <class T>
void put_big_endian(std::string& key, T value) {
  for (int shift = (sizeof value - 1) * 8; shift >= 0; shift -= 8) key.push_back(static_cast<char>(value >> shift & 0xff));
}
template <class T>
T big_endian(std::string_view key, std::size_t at) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof value; ++i) value = static_cast<T>(value << 8 | static_cast<unsigned char>(key[at + i]));
  return value;
}

// Page, then serial: a page's copies stand side by side.
constexpr std::size_t kPageKeyBytes = 8;
std::string page_key(std::uint32_t page, std::uint32_t serial) {
  std::string key;
  put_big_endian(key, page);
  put_big_endian(key, serial);
  return key;
}

// Term, epoch, sequence: in the order in which the writes are applied.
constexpr std::size_t kJournalKeyBytes = 24;
std::string journal_key(CommittedEpoch at, std::uint64_t sequence) {
  std::string key;
  put_big_endian(key, at.term.raw());
  put_big_endian(key, at.epoch.raw());
  put_big_endian(key, sequence);
  return key;
}
CommittedEpoch journal_epoch(std::string_view key) {
  return {Term{big_endian<std::uint64_t>(key, 0)}, Epoch{big_endian<std::uint64_t>(key, 8)}};
}
// The first key that is of a later epoch than `at`.
std::string journal_end(CommittedEpoch at) { return journal_key({at.term, after(at.epoch)}, 0); }

// A journal entry: where it goes, and its bytes.
struct JournalHead {
  std::uint64_t offset_bytes;
  std::uint32_t length_bytes;
  std::uint16_t disk;
  std::uint16_t zeros;
};
static_assert(sizeof(JournalHead) == 16);

std::vector<std::byte> encode_entry(const DiskWrite& write) {
  const JournalHead head{write.offset_bytes, write.length_bytes, write.disk, static_cast<std::uint16_t>(write.zeros)};
  std::vector<std::byte> entry(sizeof head + write.data.bytes.size());
  std::memcpy(entry.data(), &head, sizeof head);
  std::ranges::copy(write.data.bytes, entry.begin() + sizeof head);
  return entry;
}

Result<DiskWrite> decode_entry(std::vector<std::byte> entry, std::span<const std::uint64_t> disks) {
  JournalHead head{};
  if (entry.size() >= sizeof head) std::memcpy(&head, entry.data(), sizeof head);
  const std::uint64_t data_bytes = entry.size() - std::min(entry.size(), sizeof head);
  const bool fits = entry.size() >= sizeof head && head.disk < disks.size() && head.zeros <= 1 && head.length_bytes > 0 &&
                    head.length_bytes <= (head.zeros == 1 ? kMaxDiskZerosBytes : kMaxDiskWriteBytes) &&
                    head.offset_bytes <= disks[head.disk] && head.length_bytes <= disks[head.disk] - head.offset_bytes &&
                    data_bytes == (head.zeros == 1 ? 0 : head.length_bytes);
  if (!fits)
    return Error{ErrorCode::kCorrupt, "a write of " + std::to_string(head.length_bytes) + " bytes at " + std::to_string(head.offset_bytes) +
                                          " of disk " + std::to_string(head.disk) + ", with " + std::to_string(data_bytes) +
                                          " bytes of data: it fits no disk here"};
  DiskWrite write{
      .disk = head.disk, .offset_bytes = head.offset_bytes, .length_bytes = head.length_bytes, .zeros = head.zeros == 1, .data = {}};
  if (!write.zeros) {
    const auto owner = std::make_shared<std::vector<std::byte>>(std::move(entry));
    write.data = {std::span{*owner}.subspan(sizeof head), owner};
  }
  return write;
}

std::string printable(std::string_view key, std::size_t family) {
  if (family == kPages && key.size() == kPageKeyBytes)
    return "page " + std::to_string(big_endian<std::uint32_t>(key, 0)) + " of cut " + std::to_string(big_endian<std::uint32_t>(key, 4));
  if (family == kJournal && key.size() == kJournalKeyBytes)
    return "journal entry " + std::to_string(big_endian<std::uint64_t>(key, 16)) + " of epoch " +
           std::to_string(big_endian<std::uint64_t>(key, 8));
  return "\"" + std::string{key} + "\"";
}

rocksdb::ColumnFamilyOptions family_options(const rocksdb::Options& base, std::size_t family, bool blobs) {
  rocksdb::ColumnFamilyOptions options{base};
  options.write_buffer_size = family == kPages ? kPagesMemtable : family == kJournal ? kJournalMemtable : std::size_t{1} << 20;
  if (family == kPages && blobs) {
    options.enable_blob_files = true;
    options.min_blob_size = 512;
    options.blob_file_size = std::uint64_t{64} << 20;
    options.enable_blob_garbage_collection = true;
    options.blob_garbage_collection_age_cutoff = 0.5;
    options.blob_garbage_collection_force_threshold = 0.5;
  }
  return options;
}

}  // namespace

struct RocksDbCutStore::Db {
  explicit Db(std::filesystem::path where) : path{std::move(where)} {}
  ~Db() { close(); }

  Result<void> open() {
    rocksdb::DB* raw = nullptr;
    if (const auto status = rocksdb::DB::Open(options, path.string(), descriptors, &families, &raw); !status.ok())
      return to_error(status, "open cut store " + path.string());
    db.reset(raw);
    failed = false;
    return {};
  }
  void close() {
    for (auto* const family : families) (void)db->DestroyColumnFamilyHandle(family);
    families.clear();
    db.reset();
  }
  Result<void> is_open() const {
    if (db) return {};
    return Error{ErrorCode::kFailed, operation() + ": it could not be opened again after an error"};
  }
  std::string operation() const { return "cut store " + path.string(); }
  Result<void> write(rocksdb::WriteBatch& batch, bool sync, const std::string& what) const {
    rocksdb::WriteOptions how;
    how.sync = sync;
    if (const auto status = db->Write(how, &batch); !status.ok()) {
      failed = true;
      return to_error(status, operation() + ": " + what);
    }
    batch.Clear();
    return {};
  }
  // The payload under `key`; nullopt: nothing is there.
  Result<std::optional<std::vector<std::byte>>> get(std::size_t family, const std::string& key) const {
    US_TRY(is_open());
    std::string value;
    const auto status = db->Get({}, families[family], key, &value);
    if (status.IsNotFound()) return std::optional<std::vector<std::byte>>{};
    if (!status.ok()) return to_error(status, operation() + ": read " + printable(key, family));
    US_ASSIGN(auto payload, unsealed(family, key, std::as_bytes(std::span{value})));
    return std::optional{std::move(payload)};
  }
  Result<std::vector<std::byte>> unsealed(std::size_t family, std::string_view key, std::span<const std::byte> record) const {
    const auto payload = unseal_record(key, record);
    if (!payload) return Error{payload.error().code(), operation() + ": " + printable(key, family) + " fails its check"};
    return std::vector<std::byte>{payload->begin(), payload->end()};
  }
  std::unique_ptr<rocksdb::Iterator> iterate(std::size_t family) const {
    rocksdb::ReadOptions how;
    how.readahead_size = kBatchBytes;
    return std::unique_ptr<rocksdb::Iterator>{db->NewIterator(how, families[family])};
  }

  const std::filesystem::path path;
  rocksdb::Options options = quiet_options();
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  std::unique_ptr<rocksdb::DB> db;
  std::vector<rocksdb::ColumnFamilyHandle*> families;
  std::shared_ptr<rocksdb::Statistics> statistics;
  mutable bool failed = false;  // a write did: RocksDB's own files may be half written, and it goes on only when it is opened again
};

RocksDbCutStore::RocksDbCutStore(std::unique_ptr<Db> db, CutStoreConfig config)
    : db_{std::move(db)},
      config_{std::move(config)},
      page_serials_(config_.page_count),
      put_{config_.page_count},
      put_contents_{config_.page_count} {}
RocksDbCutStore::~RocksDbCutStore() = default;

Result<std::unique_ptr<RocksDbCutStore>> RocksDbCutStore::open(const std::filesystem::path& path, CutStoreConfig config) {
  US_CHECK(config.page_count <= std::numeric_limits<std::uint32_t>::max());
  const std::string operation = "open cut store " + path.string();
  auto db = std::make_unique<Db>(path);
  auto& options = db->options;
  if (config.env) options.env = config.env;
  options.max_total_wal_size = 2 * (kPagesMemtable + kJournalMemtable);
  options.max_open_files = 256;
  options.create_missing_column_families = true;
  options.statistics = db->statistics = rocksdb::CreateDBStatistics();
  for (std::size_t family = 0; family < kFamilies; ++family)
    db->descriptors.emplace_back(kFamilyNames[family], family_options(options, family, config.blobs));
  const bool is_new = !database_exists(path);
  if (is_new) US_TRY(make_database_directory(path, operation));
  options.create_if_missing = is_new;
  US_TRY(db->open());
  options.create_if_missing = false;
  std::unique_ptr<RocksDbCutStore> store{new RocksDbCutStore{std::move(db), std::move(config)}};
  if (auto loaded = store->load(); !loaded) return std::move(loaded.error()).within(operation);
  return store;
}

Result<void> RocksDbCutStore::recover() {
  if (!db_->failed) return db_->is_open();
  db_->close();
  US_TRY(db_->open());
  if (auto loaded = load(); !loaded) {
    db_->failed = true;
    return std::move(loaded.error()).within("open cut store " + db_->path.string() + " again");
  }
  return {};
}

Result<void> RocksDbCutStore::load() {
  serial_ = 0;
  at_ = {};
  std::ranges::fill(page_serials_, 0);
  put_.clear();
  put_contents_.clear();
  US_TRY(check_format());
  US_ASSIGN(const auto stored, db_->get(kCut, kCutKey));
  if (stored) {
    US_TRY(read_payload<schema::StoredCutRecord>(*stored, [&](schema::StoredCutRecord::Reader in) {
      serial_ = in.getSerial();
      at_ = {Term{in.getTerm()}, Epoch{in.getEpoch()}};
    }));
  }
  US_TRY(load_pages());
  return load_journal();
}

Result<void> RocksDbCutStore::check_format() {
  bool fits = false;
  US_ASSIGN(const auto stored, db_->get(kCut, kFormatKey));
  if (stored) {
    US_TRY(read_payload<schema::StoredCutFormat>(*stored, [&](schema::StoredCutFormat::Reader in) -> Result<void> {
      if (in.getFormat() != kCutFormat)
        return Error{ErrorCode::kUnsupportedVersion, "it has format " + std::to_string(in.getFormat()) + "; this release knows format " +
                                                         std::to_string(kCutFormat) +
                                                         ": use the release that wrote it, or remove the directory, and the cut in it"};
      std::vector<std::uint64_t> disks;
      for (const std::uint64_t bytes : in.getDisks()) disks.push_back(bytes);
      fits = in.getPageCount() == config_.page_count && disks == config_.disks;
      return {};
    }));
  }
  if (fits) return {};
  // New, or of a guest of another size, which can't go on here.
  rocksdb::WriteBatch batch;
  const auto payload = build_payload<schema::StoredCutFormat>([&](schema::StoredCutFormat::Builder out) {
    out.setFormat(kCutFormat);
    out.setPageCount(config_.page_count);
    auto disks = out.initDisks(static_cast<unsigned>(config_.disks.size()));
    for (unsigned i = 0; i < config_.disks.size(); ++i) disks.set(i, config_.disks[i]);
  });
  (void)batch.Put(db_->families[kCut], kFormatKey, slice(seal_record(kFormatKey, payload)));
  US_TRY(drop_all());
  return db_->write(batch, true, "write its format");
}

// Which copy of each page is the cut's. What a fold left behind that was never committed goes.
Result<void> RocksDbCutStore::load_pages() {
  rocksdb::WriteBatch drop;
  const auto pages = db_->iterate(kPages);
  for (pages->SeekToFirst(); pages->Valid(); pages->Next()) {
    const std::string_view key = pages->key().ToStringView();
    if (key.size() != kPageKeyBytes) return Error{ErrorCode::kCorrupt, "a page's key of " + std::to_string(key.size()) + " bytes"};
    const auto page = big_endian<std::uint32_t>(key, 0), serial = big_endian<std::uint32_t>(key, 4);
    if (page >= config_.page_count) return Error{ErrorCode::kCorrupt, "page " + std::to_string(page) + " is beyond the guest's memory"};
    if (serial > serial_)
      (void)drop.Delete(db_->families[kPages], pages->key());
    else if (page_serials_[page] != 0)
      return Error{ErrorCode::kCorrupt, "two copies of page " + std::to_string(page)};
    else
      page_serials_[page] = serial;
    if (drop.GetDataSize() > kBatchBytes) US_TRY(db_->write(drop, false, "drop pages of no cut"));
  }
  if (!pages->status().ok()) return to_error(pages->status(), "read its pages");
  return db_->write(drop, false, "drop pages of no cut");
}

Result<void> RocksDbCutStore::load_journal() {
  rocksdb::WriteBatch drop;
  const auto journal = db_->iterate(kJournal);
  for (journal->SeekToFirst(); journal->Valid(); journal->Next()) {
    const std::string_view key = journal->key().ToStringView();
    if (key.size() != kJournalKeyBytes) return Error{ErrorCode::kCorrupt, "a journal key of " + std::to_string(key.size()) + " bytes"};
    journal_sequence_ = std::max(journal_sequence_, big_endian<std::uint64_t>(key, 16) + 1);
    if (serial_ == 0 || journal_epoch(key) > at_) (void)drop.Delete(db_->families[kJournal], journal->key());
  }
  if (!journal->status().ok()) return to_error(journal->status(), "read its journal");
  return db_->write(drop, false, "drop journal entries of no cut");
}

Result<void> RocksDbCutStore::put_pages(const CutPages& pages) {
  US_CHECK(pages.contents.size() == pages.pages.size() * kPageSizeBytes);
  US_TRY(recover());
  auto* const family = db_->families[kPages];
  const std::uint32_t serial = serial_ + 1;
  rocksdb::WriteBatch batch;
  for (std::size_t i = 0; i < pages.pages.size(); ++i) {
    const std::uint32_t page = pages.pages[i];
    const std::string key = page_key(page, serial);
    (void)batch.Put(family, key, slice(seal_record(key, std::span{pages.contents}.subspan(i * kPageSizeBytes, kPageSizeBytes))));
    put_.insert(PageIndex{page});
    put_contents_.insert(PageIndex{page});
    if (batch.GetDataSize() > kBatchBytes) US_TRY(db_->write(batch, false, "write pages"));
  }
  // Zeros are no copy at all; one of this cut that came before must go.
  for (const std::uint32_t page : pages.zero_pages) {
    if (put_contents_.contains(PageIndex{page})) (void)batch.Delete(family, page_key(page, serial));
    put_.insert(PageIndex{page});
    put_contents_.remove(PageIndex{page});
  }
  stats_.pages += pages.pages.size();
  stats_.page_bytes += pages.contents.size();
  return db_->write(batch, false, "write pages");
}

Result<void> RocksDbCutStore::put_journal(CommittedEpoch at, std::span<const DiskWrite> writes) {
  US_TRY(recover());
  rocksdb::WriteBatch batch;
  for (const DiskWrite& write : writes) {
    const std::string key = journal_key(at, journal_sequence_++);
    (void)batch.Put(db_->families[kJournal], key, slice(seal_record(key, encode_entry(write))));
    stats_.journal_bytes += write.data.bytes.size();
    if (batch.GetDataSize() > kBatchBytes) US_TRY(db_->write(batch, false, "write the journal"));
  }
  return db_->write(batch, false, "write the journal");
}

Result<void> RocksDbCutStore::commit(const StoredCut& cut) {
  US_TRY(recover());
  US_CHECK(cut.at >= at_ || serial_ == 0);
  rocksdb::WriteBatch batch;
  const std::uint32_t serial = serial_ + 1;
  put_.for_each([&](PageIndex page) {
    if (const std::uint32_t old = page_serials_[page.raw()]; old != 0)
      (void)batch.Delete(db_->families[kPages], page_key(static_cast<std::uint32_t>(page.raw()), old));
  });
  const auto payload = build_payload<schema::StoredCutRecord>([&](schema::StoredCutRecord::Builder out) {
    out.setTerm(cut.at.term.raw());
    out.setEpoch(cut.at.epoch.raw());
    out.setSerial(serial);
    out.setEnded(cut.ended);
    out.setState(kj::arrayPtr(reinterpret_cast<const kj::byte*>(cut.state.data()), cut.state.size()));
  });
  (void)batch.Put(db_->families[kCut], kCutKey, slice(seal_record(kCutKey, payload)));
  US_TRY(db_->write(batch, true, "commit the cut"));
  put_.for_each([&](PageIndex page) { page_serials_[page.raw()] = put_contents_.contains(page) ? serial : 0; });
  put_.clear();
  put_contents_.clear();
  serial_ = serial;
  at_ = cut.at;
  ++stats_.commits;
  return {};
}

Result<void> RocksDbCutStore::trim(CommittedEpoch through) {
  US_TRY(recover());
  rocksdb::WriteBatch batch;
  const auto payload = build_payload<schema::StoredImage>([&](schema::StoredImage::Builder out) {
    out.setTerm(through.term.raw());
    out.setEpoch(through.epoch.raw());
  });
  (void)batch.DeleteRange(db_->families[kJournal], journal_key({}, 0), journal_end(through));
  (void)batch.Put(db_->families[kBlocks], kImageKey, slice(seal_record(kImageKey, payload)));
  return db_->write(batch, false, "trim the journal");
}

Result<void> RocksDbCutStore::forget() {
  US_TRY(recover());
  return drop_all();
}

Result<void> RocksDbCutStore::drop_all() {
  const std::string end(kJournalKeyBytes + 1, '\xff');
  rocksdb::WriteBatch batch;
  (void)batch.Delete(db_->families[kCut], kCutKey);
  (void)batch.Delete(db_->families[kBlocks], kImageKey);
  (void)batch.DeleteRange(db_->families[kPages], rocksdb::Slice{}, end);
  (void)batch.DeleteRange(db_->families[kJournal], rocksdb::Slice{}, end);
  US_TRY(db_->write(batch, true, "forget the cut"));
  serial_ = 0;
  at_ = {};
  std::ranges::fill(page_serials_, 0);
  put_.clear();
  put_contents_.clear();
  return {};
}

Result<std::optional<StoredCut>> RocksDbCutStore::cut() const {
  using Cut = std::optional<StoredCut>;
  US_ASSIGN(const auto stored, db_->get(kCut, kCutKey));
  if (!stored) return Cut{};
  return read_payload<schema::StoredCutRecord>(*stored, [](schema::StoredCutRecord::Reader in) {
    StoredCut cut{.at = {Term{in.getTerm()}, Epoch{in.getEpoch()}}, .ended = in.getEnded().cStr()};
    const auto state = in.getState();
    const auto bytes = std::as_bytes(std::span{state.begin(), state.size()});
    cut.state.assign(bytes.begin(), bytes.end());
    return Cut{std::move(cut)};
  });
}

Result<CommittedEpoch> RocksDbCutStore::image_holds() const {
  US_ASSIGN(const auto stored, db_->get(kBlocks, kImageKey));
  if (!stored) return CommittedEpoch{};
  return read_payload<schema::StoredImage>(*stored, [](schema::StoredImage::Reader in) {
    return CommittedEpoch{Term{in.getTerm()}, Epoch{in.getEpoch()}};
  });
}

Result<void> RocksDbCutStore::read_pages(const std::function<void(PageIndex, std::span<const std::byte, kPageSizeBytes>)>& visit) const {
  US_TRY(db_->is_open());
  std::size_t expected = 0;
  const auto pages = db_->iterate(kPages);
  for (pages->SeekToFirst(); pages->Valid(); pages->Next()) {
    const std::string_view key = pages->key().ToStringView();
    const auto page = big_endian<std::uint32_t>(key, 0), serial = big_endian<std::uint32_t>(key, 4);
    if (page_serials_[page] != serial) continue;  // of a cut that is being written
    US_ASSIGN(const auto contents, db_->unsealed(kPages, key, std::as_bytes(std::span{pages->value().data(), pages->value().size()})));
    if (contents.size() != kPageSizeBytes)
      return Error{ErrorCode::kCorrupt,
                   db_->operation() + ": " + printable(key, kPages) + " has " + std::to_string(contents.size()) + " bytes"};
    visit(PageIndex{page}, std::span<const std::byte, kPageSizeBytes>{contents.data(), kPageSizeBytes});
    ++expected;
  }
  if (!pages->status().ok()) return to_error(pages->status(), db_->operation() + ": read the pages");
  const auto held = static_cast<std::size_t>(std::ranges::count_if(page_serials_, [](std::uint32_t serial) { return serial != 0; }));
  if (expected != held)
    return Error{ErrorCode::kCorrupt, db_->operation() + ": " + std::to_string(expected) + " pages were read of " + std::to_string(held)};
  return {};
}

Result<void> RocksDbCutStore::read_journal(const std::function<void(DiskWrite)>& visit) const {
  US_TRY(db_->is_open());
  const auto journal = db_->iterate(kJournal);
  for (journal->SeekToFirst(); journal->Valid(); journal->Next()) {
    const std::string_view key = journal->key().ToStringView();
    if (journal_epoch(key) > at_) break;
    US_ASSIGN(auto entry, db_->unsealed(kJournal, key, std::as_bytes(std::span{journal->value().data(), journal->value().size()})));
    auto write = decode_entry(std::move(entry), config_.disks);
    if (!write) return std::move(write.error()).within(db_->operation() + ": " + printable(key, kJournal));
    visit(std::move(*write));
  }
  if (!journal->status().ok()) return to_error(journal->status(), db_->operation() + ": read the journal");
  return {};
}

CutStoreStats RocksDbCutStore::stats() const {
  CutStoreStats stats = stats_;
  stats.log_bytes = db_->statistics->getTickerCount(rocksdb::WAL_FILE_BYTES);
  stats.table_bytes = db_->statistics->getTickerCount(rocksdb::FLUSH_WRITE_BYTES);
  stats.compaction_bytes = db_->statistics->getTickerCount(rocksdb::COMPACT_WRITE_BYTES);
  return stats;
}

}  // namespace understudy
