# Between nodes and witness (message kinds 64 and 65), and what the witness stores. Fields are only appended.
#
#   node                                   witness
#    | -- WitnessRequest (call 1, read) -----> |
#    | <- WitnessAnswer  (call 1, record) ---- |
#    | -- WitnessRequest (call 2, propose) --> |  decides, syncs the changed record
#    | <- WitnessAnswer  (call 2, granted) --- |
#
# Either may be lost; the node repeats a proposal under the same request id, in a new call.
@0xe1f0a7c25b8d4936;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("understudy::schema");

struct WitnessNode {
  node @0 :UInt8;  # 0: a, 1: b
  incarnation @1 :UInt64;
}

struct WitnessRecord {
  term @0 :UInt64;
  mode @1 :UInt8;  # 0: pair, 1: solo
  holder @2 :WitnessNode;
  eligible @3 :List(WitnessNode);
  request @4 :UInt64;
}

struct WitnessProposal {
  kind @0 :UInt8;  # 0: bootstrap, 1: takeover, 2: solo, 3: reprotect, 4: switchover, 5: renew
  request @1 :UInt64;
  expectedTerm @2 :UInt64;
  atLeast @3 :UInt64;
  proposer @4 :WitnessNode;
  peer @5 :WitnessNode;  # may be absent
}

struct WitnessSeed {
  term @0 :UInt64;
  holder @1 :WitnessNode;
}

struct WitnessRequest {
  call @0 :UInt64;  # comes back in the answer
  union {
    read @1 :Void;
    propose @2 :WitnessProposal;
    seed @3 :WitnessSeed;
  }
}

struct WitnessAnswer {
  call @0 :UInt64;  # 0: to no call in particular
  granted @1 :Bool;
  record @2 :WitnessRecord;  # absent: there is none
  store @3 :UInt64;
  reason @4 :Text;
  failed @5 :Bool;  # the witness could not answer; reason says why
}

struct StoredWitness {
  store @0 :UInt64;
  amnesiac @1 :Bool;
}

struct StoredWitnessPair {
  record @0 :WitnessRecord;    # may be absent
  madeBy @1 :WitnessProposal;  # may be absent
  forgotten @2 :UInt64;
}
