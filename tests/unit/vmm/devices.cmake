# Fixtures shared by the device tests and the fuzz targets, included by paths below the project.
add_library(test_devices INTERFACE)
target_include_directories(test_devices INTERFACE ${CMAKE_BINARY_DIR}/rooms/test_devices)
target_link_libraries(test_devices INTERFACE understudy_vmm GTest::gtest)
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/rooms/test_devices/tests/unit/vmm)
foreach(header blk_fixture.h device_rig.h net_fixture.h virtio_driver.h)
  file(CREATE_LINK ${CMAKE_CURRENT_SOURCE_DIR}/${header}
       ${CMAKE_BINARY_DIR}/rooms/test_devices/tests/unit/vmm/${header} SYMBOLIC)
endforeach()

understudy_test(NAME unit_vmm_devices
  SOURCES bus_test.cpp device_serial_test.cpp virtio_queue_test.cpp virtio_mmio_test.cpp device_net_test.cpp device_net_control_test.cpp
          device_net_offload_test.cpp device_blk_test.cpp device_blk_state_test.cpp device_power_test.cpp device_pvpanic_test.cpp
          device_rng_test.cpp device_balloon_test.cpp device_rtc_test.cpp device_manager_test.cpp device_suite_test.cpp
  LINK test_devices)
target_compile_definitions(unit_vmm_devices PRIVATE UNDERSTUDY_DEVICES_FOLDER="${PROJECT_SOURCE_DIR}/vmm/devices"
  UNDERSTUDY_GOLDEN_DIR="${PROJECT_SOURCE_DIR}/tests/golden")
