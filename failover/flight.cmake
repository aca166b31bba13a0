# The flight recorder: what a node did, kept, told and done again.
add_library(understudy_flight STATIC flight_events.cpp flight_log.cpp flight_recorder.cpp flight_replay.cpp)
understudy_room(understudy_flight failover flight_log.h flight_recorder.h flight_replay.h)
understudy_schemas(understudy_flight failover/flight.capnp)
target_link_libraries(understudy_flight PUBLIC understudy_node understudy_net PRIVATE PkgConfig::lz4 PkgConfig::xxhash)

# Its place on disk, for who may see the database.
add_library(understudy_flight_db STATIC flight_db.cpp)
understudy_room(understudy_flight_db failover flight_db.h)
target_link_libraries(understudy_flight_db PUBLIC understudy_flight understudy_store)

# Whether two programs decide alike: the source of all that decides.
get_target_property(sources understudy_node SOURCES)
file(GLOB headers CONFIGURE_DEPENDS archive.h arbiter.h node*.h peer_view.h petition.h probe.h verdict.h)
set(text "")
foreach(source ${sources} ${headers})
  cmake_path(ABSOLUTE_PATH source)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${source})
  file(SHA256 ${source} one)
  string(APPEND text ${one})
endforeach()
string(SHA256 decisions "${text}")
string(SUBSTRING ${decisions} 0 16 decisions)
target_compile_definitions(understudy_flight PRIVATE UNDERSTUDY_DECISIONS="${decisions}" UNDERSTUDY_VERSION="${PROJECT_VERSION}")
