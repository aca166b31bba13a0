target_sources(understudy_vmm PRIVATE bus.cpp)
