# What every virtio device over MMIO saves of its transport and queues; part of each device's own state.
@0xe3d1a65b0f9c7a28;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("understudy::schema");

struct VirtioQueueState {
  size @0 :UInt16;
  ready @1 :Bool;
  descriptors @2 :UInt64;
  driverArea @3 :UInt64;
  deviceArea @4 :UInt64;
  nextAvailable @5 :UInt16;
  nextUsed @6 :UInt16;
}

struct VirtioTransportState {
  status @0 :UInt32;
  deviceFeaturesSelect @1 :UInt32;
  driverFeaturesSelect @2 :UInt32;
  driverFeatures @3 :UInt64;
  queueSelect @4 :UInt32;
  interruptStatus @5 :UInt32;
  resetPending @6 :Bool;           # the driver asked for a reset while requests were in flight
  queues @7 :List(VirtioQueueState);
  configGeneration @8 :UInt32;     # the configuration space itself is the device's own matter
}
