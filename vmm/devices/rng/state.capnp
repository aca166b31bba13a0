# A virtio-rng device. A request is answered whole or waits in the ring, so none is ever in flight; what the host still allows is the host's.
@0xa8e27c41d95b3f06;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("understudy::schema");

using Virtio = import "/vmm/devices/virtio/state.capnp";

struct RngState {
  transport @0 :Virtio.VirtioTransportState;
}
