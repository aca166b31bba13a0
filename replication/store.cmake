# What a node (and the witness) must not forget: a target of its own, since only it sees RocksDB.
add_library(understudy_store STATIC rocksdb_files.cpp rocksdb_store.cpp sealed_record.cpp small_db.cpp)
understudy_room(understudy_store replication epoch_store.h rocksdb_files.h rocksdb_store.h sealed_record.h small_db.h)
understudy_schemas(understudy_store replication/store.capnp)
target_link_libraries(understudy_store PUBLIC understudy_net PRIVATE PkgConfig::rocksdb PkgConfig::xxhash)

# The secondary's durable cut; the witness needs none.
add_library(understudy_cut_store STATIC rocksdb_cut_store.cpp)
understudy_room(understudy_cut_store replication cut_store.h rocksdb_cut_store.h)
target_link_libraries(understudy_cut_store PUBLIC understudy_store understudy_checkpoint PRIVATE PkgConfig::rocksdb)
