# The arbiter of a pair without a third place: the witness's rules over the node's own record.
add_library(understudy_manual STATIC manual_arbiter.cpp)
understudy_room(understudy_manual failover manual_arbiter.h)
target_link_libraries(understudy_manual PUBLIC understudy_node understudy_witness)
