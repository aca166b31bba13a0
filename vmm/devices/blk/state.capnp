# A virtio-blk device. A request in flight is saved by its head alone: its chain is not yet used, so it stands unchanged in guest memory.
@0x9f4c1d7be05a3826;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("understudy::schema");

using Virtio = import "/vmm/devices/virtio/state.capnp";

struct BlkState {
  transport @0 :Virtio.VirtioTransportState;
  capacityBytes @1 :UInt64;
  readOnly @2 :Bool;
  inFlight @3 :List(UInt16);     # heads, in the order of submission
}
