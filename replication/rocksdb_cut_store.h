// CutStore over RocksDB: column families `cut`, `journal`, `pages` and `blocks`. Every record is sealed, and its seal verified on every
// read. The format, key by key, is in README.md, "The durable cut".
//
// A database of its own beside the node's store: neither its bulk nor its damage or full disk must stand between a node and its promise.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "replication/cut_store.h"
#include "vmm/page_set.h"

namespace rocksdb {
class Env;
}

namespace understudy {

inline constexpr std::uint32_t kCutFormat = 1;

struct CutStoreConfig {
  std::size_t page_count = 0;          // of the guest's memory; a cut of another size is dropped when it is opened
  std::vector<std::uint64_t> disks{};  // sizes in bytes, likewise
  bool blobs = true;                   // page contents in blob files: compactions then move keys alone
  rocksdb::Env* env = nullptr;         // outlives the store; nullptr: the host's files
};

// What the store wrote since it was opened.
struct CutStoreStats {
  std::uint64_t pages = 0, page_bytes = 0;  // put
  std::uint64_t journal_bytes = 0;          // put
  std::uint64_t commits = 0;
  std::uint64_t log_bytes = 0, table_bytes = 0, compaction_bytes = 0;  // by RocksDB to its files
};

class RocksDbCutStore final : public CutStore {
 public:
  // Opens the directory `path`, or makes it. Pieces of a cut that was never committed are dropped. kUnavailable: in use by another process;
  // kCorrupt: its files or records fail their checks; kUnsupportedVersion: written by a newer release, names both formats.
  static Result<std::unique_ptr<RocksDbCutStore>> open(const std::filesystem::path& path, CutStoreConfig config);
  ~RocksDbCutStore() override;

  Result<void> put_pages(const CutPages& pages) override;
  Result<void> put_journal(CommittedEpoch at, std::span<const DiskWrite> writes) override;
  Result<void> commit(const StoredCut& cut) override;
  Result<void> trim(CommittedEpoch through) override;
  Result<void> forget() override;

  Result<std::optional<StoredCut>> cut() const override;
  Result<CommittedEpoch> image_holds() const override;
  Result<void> read_pages(const std::function<void(PageIndex, std::span<const std::byte, kPageSizeBytes>)>& visit) const override;
  Result<void> read_journal(const std::function<void(DiskWrite)>& visit) const override;

  CutStoreStats stats() const;

 private:
  struct Db;
  RocksDbCutStore(std::unique_ptr<Db> db, CutStoreConfig config);
  Result<void> recover();
  Result<void> load();
  Result<void> drop_all();
  Result<void> check_format();
  Result<void> load_pages();
  Result<void> load_journal();

  const std::unique_ptr<Db> db_;
  const CutStoreConfig config_;
  std::uint32_t serial_ = 0;                 // of the stored cut; 0: none
  CommittedEpoch at_;                        // of the stored cut
  std::vector<std::uint32_t> page_serials_;  // of each page's stored copy; 0: it is zeros
  PageSet put_;                              // pages put since the last commit
  PageSet put_contents_;                     // of these, those that are not zeros
  std::uint64_t journal_sequence_ = 0;       // rises over all that is put
  CutStoreStats stats_;
};

}  // namespace understudy
