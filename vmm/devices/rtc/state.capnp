# A PC's real-time clock. `wallNs` is the guest's wall clock at the save; it goes on from there when the guest does.
@0xf4078d5be19c2a63;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("understudy::schema");

struct RtcState {
  wallNs @0 :Int64;      # since 1970
  index @1 :UInt8;       # the register that the data port stands for
  registers @2 :Data;    # all 128; the time's are meaningful while the clock is set
}
