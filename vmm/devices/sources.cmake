target_sources(understudy_vmm PRIVATE
  bus.cpp
  device_manager.cpp
  devices/serial/serial.cpp
  devices/virtio/virtqueue.cpp
  devices/virtio/virtio_mmio.cpp
  devices/virtio/virtio_mmio_registers.cpp
  devices/virtio/virtio_mmio_state.cpp
  devices/net/net.cpp
  devices/blk/blk.cpp
  devices/rng/rng.cpp)
understudy_schemas(understudy_vmm
  vmm/devices/serial/state.capnp
  vmm/devices/virtio/state.capnp
  vmm/devices/net/state.capnp
  vmm/devices/blk/state.capnp
  vmm/devices/rng/state.capnp)
