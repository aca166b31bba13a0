# What the two nodes of a pair say to each other in a replication session. Kinds are in replication/messages.h; parts and manifests of
# epochs have their own schema, checkpoint/manifest.capnp.
#
# Version policy: fields are only appended; a Hello of another protocolVersion is refused with both versions named.
@0xc0f3b1d7a2e84519;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("understudy::schema");

struct Hello {                       # primary -> secondary
  protocolVersion @0 :UInt16;
  expectedPeer @1 :UInt64;           # the incarnation that is meant
  fingerprint @2 :Fingerprint;
  disks @3 :List(Disk);               # in the order of the machine's disks

  struct Fingerprint {
    regions @0 :List(Region);
    vcpuCount @1 :UInt32;
    tscKhz @2 :UInt64;
    tscScalable @3 :Bool;
    xsaveBytes @4 :UInt64;
    cpuFeatureWords @5 :List(UInt32);
    deviceIds @6 :List(Text);
  }
  struct Disk {
    bytes @0 :UInt64;
    readOnly @1 :Bool;
  }
  struct Region {
    start @0 :UInt64;
    firstPage @1 :UInt64;
    pageCount @2 :UInt64;
  }
}

struct Welcome {                     # secondary -> primary: the session is taken
  imageWhole @0 :Bool;
  committedTerm @1 :UInt64;          # of the image held
  committedEpoch @2 :UInt64;
  overwrittenBy @3 :UInt64;          # the image is not whole: the primary (incarnation) whose transfer was not completed; else 0
}

struct Refuse {                      # secondary -> primary: the session, or its term, is not taken
  promise @0 :UInt64;                # the floor, where that is why; else 0
  reason @1 :Text;
}

struct Begin {                       # primary -> secondary: what follows
  full @0 :Bool;                     # the image is written over, and is whole again with the first epoch; else epochs that build on `base`
  base @1 :UInt64;
  resync @2 :Bool;                   # with `full`: only what may differ since `base`, or since this primary's transfer that was not completed
}

struct Ack {                         # secondary -> primary: all of the envelope's epoch is held, in the envelope's term and session
  committedTerm @0 :UInt64;          # the term in which that epoch was committed
}

struct Progress {                    # secondary -> primary, in a full transfer
  parts @0 :UInt64;                  # so many parts arrived and are applied or on their way to the disk
}

struct Reject {                      # secondary -> primary: the envelope's epoch is not whole, and was thrown away; the session is over
  reason @0 :Text;
}

struct CheckPages {                  # primary -> secondary, after the manifest of the envelope's epoch: is it the same over there at its end?
  first @0 :UInt64;                  # page
  hashes @1 :List(UInt64);           # XXH3-64 of the pages from there on
  stateHash @2 :UInt64;              # of the machine's state
}

struct Checked {                     # secondary -> primary: the answer, in the order of the questions
  first @0 :UInt64;
  count @1 :UInt32;
  differing @2 :List(UInt64);        # pages that are not
  stateDiffers @3 :Bool;
}

struct RaiseTerm {                   # primary -> secondary: the session goes on in the envelope's term; answered by an Ack of what is held
  previous @0 :UInt64;
}
