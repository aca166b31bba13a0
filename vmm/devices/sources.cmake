target_sources(understudy_vmm PRIVATE
  bus.cpp
  devices/serial/serial.cpp)
understudy_schemas(understudy_vmm
  vmm/devices/serial/state.capnp)
