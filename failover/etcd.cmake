# etcd as the arbiter: its messages, its connections (the one place of HTTP), and the witness's rules over it.
add_library(understudy_etcd STATIC etcd_arbiter.cpp etcd_codec.cpp etcd_http.cpp etcd_store.cpp)
understudy_room(understudy_etcd failover etcd_arbiter.h etcd_codec.h etcd_connection.h etcd_http.h etcd_store.h)
understudy_schemas(understudy_etcd failover/etcd.capnp)
target_link_libraries(understudy_etcd PUBLIC understudy_witness PRIVATE PkgConfig::httplib PkgConfig::openssl)
