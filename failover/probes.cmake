# The probes: what exercises a path (in a process of its own), and what watches over that process.
add_library(understudy_probes STATIC probe_nic.cpp probe_process.cpp probe_storage.cpp probe_wire.cpp)
understudy_room(understudy_probes failover probe.h probe_nic.h probe_process.h probe_storage.h probe_wire.h)
target_link_libraries(understudy_probes PUBLIC understudy_base)
