# A virtio-net device. Frames on the host's side (in the backend, or in hand for want of buffers) have not arrived yet, and are no state.
@0xc7b80d5f4e2a9163;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("understudy::schema");

using Virtio = import "/vmm/devices/virtio/state.capnp";

# Version 2. (Version 1 had no control queue, and ended with the MAC.)
struct NetState {
  transport @0 :Virtio.VirtioTransportState;  # what was negotiated is in here
  mac @1 :Data;                  # as the guest knows it
  queuePairs @2 :UInt16;         # in use, by the driver's command; 1 after a reset
  announcePending @3 :Bool;      # the driver was asked to announce itself, and has not said that it did
  offloadsOff @4 :UInt64;        # feature bits of receive offloads that the driver negotiated and turned off since
}
