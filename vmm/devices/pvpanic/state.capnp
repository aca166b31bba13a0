# What the guest has told of its end since it was started.
@0xe4b81d6c0a7f9352;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("understudy::schema");

struct PvpanicState {
  told @0 :UInt8;            # the bits seen
  notifications @1 :UInt32;  # writes that set a known bit; stays at its maximum
}
