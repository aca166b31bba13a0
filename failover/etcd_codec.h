// etcd's JSON and the values stored there, to plain data and checked back: the one place that reads failover/etcd.capnp. Pure.
//
// A transaction is all that the arbiter needs of etcd: to read keys, and to write one if nothing changed since.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "failover/witness_core.h"

namespace understudy {

// A key as it is at some revision of etcd's.
struct EtcdValue {
  std::int64_t mod_revision = 0;  // of the latest change, never the same for two changes; 0: there is no such key
  std::vector<std::byte> bytes;
  friend bool operator==(const EtcdValue&, const EtcdValue&) = default;
};

struct EtcdPut {
  std::string key;
  std::vector<std::byte> value;
};

// Atomically: writes `put` if every key of `keys` still has its revision of `unchanged` (as many), else reads `keys`. Without `put`: reads
// them. Linearizable, since it asks for nothing less (etcd 3.4, `api_guarantees.md`).
struct EtcdTxn {
  std::vector<std::string> keys;
  std::vector<std::int64_t> unchanged;
  std::optional<EtcdPut> put;
};

struct EtcdTxnAnswer {
  std::uint64_t cluster = 0;  // the id of the cluster that answered; never 0
  std::int64_t revision = 0;  // of all its content; never falls, unless it lost some
  bool written = false;
  std::vector<EtcdValue> values;  // of `keys`, in their order; empty when written
};

std::string encode_etcd_txn(const EtcdTxn& txn);
// The answer to that transaction. kCorrupt says what cannot be.
Result<EtcdTxnAnswer> decode_etcd_txn(const EtcdTxn& txn, std::string_view json);
// What etcd says of a request that it did not serve, in one printable line; empty if it is nothing readable.
std::string decode_etcd_fault(std::string_view json);

// That a cluster may grant, as an operator said when it was set up.
struct EtcdIdentity {
  std::uint64_t cluster = 0;
  WitnessIdentity witness;
};

// All that is kept of one pair, and where it was written.
struct EtcdPair {
  StoreId store;
  WitnessPair pair;
  friend bool operator==(const EtcdPair&, const EtcdPair&) = default;
};

// Sealed with the key that they are stored under (replication/sealed_record.h). Decoding: kCorrupt, kUnsupportedVersion.
std::vector<std::byte> encode_etcd_pair(std::string_view key, const EtcdPair& pair);
Result<EtcdPair> decode_etcd_pair(std::string_view key, std::span<const std::byte> value);
std::vector<std::byte> encode_etcd_identity(std::string_view key, const EtcdIdentity& identity);
Result<EtcdIdentity> decode_etcd_identity(std::string_view key, std::span<const std::byte> value);

}  // namespace understudy
