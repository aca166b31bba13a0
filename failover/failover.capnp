# Messages between the two nodes of a pair that are not replication: kinds 32 to 63. Fields are only appended.
@0xb7d0f6a2c15e8d43;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("understudy::schema");

# Kind 32. The envelope carries pair, sender, incarnation and term; heartbeat_codec.h says what each field means.
struct Heartbeat {
  sequence @0 :UInt64;
  echoIncarnation @1 :UInt64;
  echoSequence @2 :UInt64;
  role @3 :UInt8;
  promise @4 :UInt64;
  hasHistory @5 :Bool;
  imageWhole @6 :Bool;
  committedTerm @7 :UInt64;
  committedEpoch @8 :UInt64;
  eligiblePeer @9 :UInt64;
  guestStopped @10 :Bool;
  handover @11 :Handover;  # null: none is offered
  refusal @12 :Text;
  evidence @13 :List(Evidence);
  guest @14 :Text;
  hold @15 :Hold;          # null: there never was one
  holdEndsInNs @16 :Int64 = -1;
  wantsNoPeer @17 :Bool;
  justMoved @18 :Bool;
}

# An operator's word: node_io.h says what each field means.
struct Hold {
  revision @0 :UInt64;
  held @1 :Bool;
  sinceNs @2 :UInt64;
  untilNs @3 :UInt64;
  by @4 :Text;
  reason @5 :Text;
}

# In a node's store, not on the wire.
struct StandingOrders {
  hold @0 :Hold;
  fenced @1 :Text;
}

struct Handover {
  term @0 :UInt64;
  finalTerm @1 :UInt64;
  finalEpoch @2 :UInt64;
}

struct Evidence {
  path @0 :UInt8;
  health @1 :UInt8;
  ageNs @2 :Int64;
  text @3 :Text;
  suspected @4 :Bool;
  beyond @5 :Bool;
}
