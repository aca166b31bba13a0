# What makes a sick host stop: agents that switch the other one off, and watchdogs over this one.
add_library(understudy_fencing STATIC fence_agent.cpp poison_pill.cpp watchdog.cpp)
understudy_room(understudy_fencing failover arbiter.h fence_agent.h poison_pill.h watchdog.h)
target_link_libraries(understudy_fencing PUBLIC understudy_base PRIVATE understudy_child PkgConfig::xxhash)
