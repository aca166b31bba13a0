# The probes: what exercises a path (in a process of its own), what watches over that process, and what becomes of its findings.
add_library(understudy_probes STATIC
  echo_watch.cpp
  evidence.cpp
  host_watch.cpp
  kernel_log.cpp
  latency_watch.cpp
  loop_watch.cpp
  path_board.cpp
  probe_command.cpp
  probe_echo.cpp
  probe_nic.cpp
  probe_process.cpp
  probe_storage.cpp
  probe_threshold.cpp
  probe_wire.cpp
  proc_file.cpp
  thread_watch.cpp)
understudy_room(understudy_probes failover
  echo_watch.h evidence.h host_watch.h kernel_log.h latency_watch.h loop_watch.h path_board.h probe.h probe_command.h probe_echo.h probe_nic.h probe_process.h
  probe_storage.h probe_threshold.h probe_wire.h proc_file.h thread_watch.h)
target_link_libraries(understudy_probes PUBLIC understudy_base PRIVATE understudy_child)
