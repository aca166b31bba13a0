# A device's section in the machine's state. `id` is stable and keys the section; `state` is of the device's own schema, in its folder.
@0xb1f0a86c5d2e7c43;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("understudy::schema");

struct DeviceState {
  id @0 :Text;
  version @1 :UInt16;    # of the device's own schema
  state @2 :AnyPointer;
}
