# target_sources(understudy_vmm PRIVATE devices/...)
