# What a node's store holds, one record a key (replication/rocksdb_store.cpp). Fields are only appended.
@0xb4c7d5a19e3f2068;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("understudy::schema");

struct StoredIdentity {
  pair @0 :UInt64;
  node @1 :UInt8;  # 0: a, 1: b
  incarnation @2 :UInt64;
}

struct StoredTerm {
  term @0 :UInt64;
}

struct StoredEnd {
  ended @0 :Text;
}

struct StoredCommit {
  term @0 :UInt64;
  epoch @1 :UInt64;
}

# The durable cut (replication/rocksdb_cut_store.cpp).
struct StoredCutFormat {
  format @0 :UInt32;
  pageCount @1 :UInt64;
  disks @2 :List(UInt64);  # sizes in bytes
}

struct StoredCutRecord {
  term @0 :UInt64;
  epoch @1 :UInt64;
  serial @2 :UInt32;
  ended @3 :Text;
  state @4 :Data;
}

struct StoredImage {
  term @0 :UInt64;
  epoch @1 :UInt64;
}
