// The witness's memory: one record a pair, on stable storage before anyone hears of it.
#pragma once

#include <filesystem>
#include <memory>

#include "failover/witness_core.h"

namespace understudy {

class SmallDb;

class WitnessStore {
 public:
  // A store is never made by accident: a witness that silently starts empty would grant terms again that it has granted before.
  enum class Open : std::uint8_t {
    kExisting,     // kNotFound when there is none
    kNew,          // makes one for pairs that were never served by a witness; opens an existing one
    kReplacement,  // makes one in place of a lost store: amnesiac, grants nothing until seeded; kRefused where one exists
  };

  // kUnavailable: in use by another process; kCorrupt; kUnsupportedVersion; kFailed from the file system. Blocks on the disk.
  static Result<std::unique_ptr<WitnessStore>> open(const std::filesystem::path& path, Open how);
  ~WitnessStore();

  const WitnessIdentity& identity() const { return identity_; }
  // Empty for a pair never heard of; kCorrupt when what is stored fails its check.
  Result<WitnessPair> load(PairId pair) const;
  // On stable storage when it returns.
  Result<void> save(PairId pair, const WitnessPair& state);

 private:
  WitnessStore(std::unique_ptr<SmallDb> db, WitnessIdentity identity);
  const std::unique_ptr<SmallDb> db_;
  const WitnessIdentity identity_;
};

}  // namespace understudy
