understudy_test(NAME unit_vmm_core
  SOURCES boot_acpi_test.cpp boot_bzimage_test.cpp boot_data_test.cpp boot_elf_test.cpp boot_loader_test.cpp boot_pvh_test.cpp clock_test.cpp
          cpu_model_test.cpp cpuid_test.cpp dirty_tracker_test.cpp fingerprint_test.cpp guest_memory_test.cpp machine_event_test.cpp
  LINK understudy_vmm understudy_fakes)
