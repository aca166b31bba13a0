# A virtio-balloon device. What the guest gave back is in guest memory (zeros), and a chain that was not finished is still in its ring.
@0xd1f6b3907a42ce85;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("understudy::schema");

using Virtio = import "/vmm/devices/virtio/state.capnp";

struct BalloonState {
  transport @0 :Virtio.VirtioTransportState;
  targetPages @1 :UInt32;        # of 4 KiB, that the guest is asked to give back
  actualPages @2 :UInt32;        # that it says it gave back
}
