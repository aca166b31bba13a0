// EpochStore over RocksDB. Each record carries its format's version and a checksum, verified on every read.
#pragma once

#include <filesystem>
#include <memory>

#include "replication/epoch_store.h"

namespace understudy {

class SmallDb;

class RocksDbStore final : public EpochStore {
 public:
  // Opens the directory `path`, or makes it. The store then is `pair`'s node `node`'s: kRefused names both owners when it holds another's.
  // kUnavailable: in use by another process; kCorrupt: its files or records fail their checks; kUnsupportedVersion: written by a newer
  // release; kFailed from the file system. Blocks on the disk.
  static Result<std::unique_ptr<RocksDbStore>> open(const std::filesystem::path& path, PairId pair, NodeId node);
  ~RocksDbStore() override;

  // One thread at a time writes; reads may come from any. A lower term or promise than stored: kRefused, with both. put_identity() of
  // another pair or node: kRefused.
  Result<void> put_identity(const NodeIdentity& identity) override;
  Result<void> put_term(Term term) override;
  Result<void> put_promise(Term promised) override;
  Result<void> put_end(const std::string& ended) override;
  Result<void> put_orders(std::span<const std::byte> orders) override;
  Result<void> put_spoiled(CommittedEpoch through) override;
  Result<void> put_holding(Term term) override;
  Result<void> put_committed(CommittedEpoch committed) override;

  Result<std::optional<NodeIdentity>> identity() const override;
  Result<Term> term() const override;
  Result<Term> promise() const override;
  Result<CommittedEpoch> committed() const override;
  Result<CommittedEpoch> spoiled() const override;
  Result<std::string> end() const override;
  Result<std::vector<std::byte>> orders() const override;

 private:
  RocksDbStore(std::unique_ptr<SmallDb> db, PairId pair, NodeId node);
  Result<void> check_raised(const char* key, Term to) const;
  Result<void> put_raised(const char* key, Term to);

  const std::unique_ptr<SmallDb> db_;
  const PairId pair_;
  const NodeId node_;
};

}  // namespace understudy
