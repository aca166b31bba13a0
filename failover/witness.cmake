# The witness: its rules, its memory, its server, and the nodes' client of it. A target of its own: nothing else of failover/ is needed here.
add_library(understudy_witness STATIC witness_client.cpp witness_codec.cpp witness_core.cpp witness_server.cpp witness_store.cpp)
understudy_room(understudy_witness failover arbiter.h witness_client.h witness_codec.h witness_core.h witness_server.h witness_store.h)
understudy_schemas(understudy_witness failover/witness.capnp)
target_link_libraries(understudy_witness PUBLIC understudy_net understudy_store)
