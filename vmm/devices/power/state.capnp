# The power registers: what the guest wrote, and a press of the button that it has not taken yet.
@0xa7c41be90d52f38b;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("understudy::schema");

struct PowerState {
  status @0 :UInt16;
  enable @1 :UInt16;
  control @2 :UInt16;
}
