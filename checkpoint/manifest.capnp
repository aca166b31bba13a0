# What an epoch is made of: numbered parts (page batches and disk batches), and a manifest that closes it.
#
# Version policy: fields are only appended; a manifest of another version is refused. See checkpoint/README.md for the digest.
@0xa90b6b0f3d1c7e52;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("understudy::schema");

# Pages of one epoch; the contents of `pages`, in order, are one bulk frame of 4096 bytes each (no frame when there are none).
struct PageBatch {
  sequence @0 :UInt32;          # place among the epoch's parts, from 0
  pages @1 :List(UInt32);       # page numbers, ascending
  zeroPages @2 :List(UInt32);   # pages that are all zeros: ascending, disjoint from `pages`
  checksum @3 :UInt64;          # XXH3-64, see README
}

# Writes to the guest's disks, in the order in which the guest made them; each write that is not zeros has one bulk frame, in order.
struct DiskBatch {
  sequence @0 :UInt32;
  writes @1 :List(Write);
  checksum @2 :UInt64;

  struct Write {
    disk @0 :UInt16;
    zeros @1 :Bool;
    lengthBytes @2 :UInt32;
    offsetBytes @3 :UInt64;
  }
}

# Closes an epoch. The machine's state is the one bulk frame.
struct Manifest {
  version @0 :UInt16;
  term @1 :UInt64;
  epoch @2 :UInt64;
  base @3 :UInt64;          # the epoch on which this one builds; 0 when it is whole by itself
  partCount @4 :UInt32;
  pageCount @5 :UInt64;     # pages in all page batches, zero pages included
  zeroPageCount @6 :UInt64;
  diskWriteCount @7 :UInt64;
  diskBytes @8 :UInt64;
  stateBytes @9 :UInt32;
  digest @10 :UInt64;       # over all parts, the state, these numbers and `ended`
  ended @11 :Text;          # how the guest ended at this epoch's end; empty: it lives
}
