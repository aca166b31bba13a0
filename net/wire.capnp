# The envelope around every message between the nodes of a pair and their arbiter.
#
# Version policy: a peer of another wireVersion is refused with both versions named. Fields are only appended.
@0xd3a1c5f0b6e24a11;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("understudy::schema");

struct Envelope {
  magic @0 :UInt32;            # 0x59445355, "USDY" in memory
  wireVersion @1 :UInt16;
  kind @2 :UInt16;             # 0 is invalid
  pair @3 :UInt64;
  sender @4 :UInt8;            # 0: node a, 1: node b
  incarnation @5 :UInt64;
  term @6 :UInt64;
  session @7 :UInt64;
  epoch @8 :UInt64;
  checksum @9 :UInt64;         # XXH3-64 of payload, seeded with XXH3-64 of the fields above (see net/codec.cpp)
  payload @10 :Data;           # a Cap'n Proto message in flat (unpacked) form
}
