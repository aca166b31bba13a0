# A virtio-net device. Frames on the host's side (in the backend, or in hand for want of buffers) have not arrived yet, and are no state.
@0xc7b80d5f4e2a9163;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("understudy::schema");

using Virtio = import "/vmm/devices/virtio/state.capnp";

struct NetState {
  transport @0 :Virtio.VirtioTransportState;
  mac @1 :Data;                  # as the guest knows it
}
