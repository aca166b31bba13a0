# Between `understudy` (the operator's command) and `understudyd`, over the daemon's local socket. The status is also what --json prints.
@0xc2d4a1f7e8b35960;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("understudy::schema");

const operatorVersion :UInt16 = 1;

struct OperatorRequest {
  version @0 :UInt16;
  command @1 :Command;
  enum Command {
    status @0;
    switchover @1;
    takeover @2;
    start @3;
  }
}

struct OperatorReply {
  version @0 :UInt16;
  ok @1 :Bool;
  sentence @2 :Text;    # what was done, or why not, for a person
  status @3 :Status;    # always there
}

struct Status {
  pair @0 :Text;
  node @1 :Text;               # "a" or "b"
  role @2 :Text;               # starting, primary, secondary, solo, fenced
  mode @3 :Text;               # of the pair's record: "pair", "solo", or "" when not known
  term @4 :UInt64;
  epoch @5 :UInt64;            # open on a primary, being received on a secondary
  committedEpoch @6 :UInt64;
  protected @7 :Bool;          # the peer holds a whole committed epoch and is eligible
  reason @8 :Text;             # why the node is in this state, one sentence
  verdict @9 :Text;            # of this host: "healthy", "degraded(path)", "failed(path)"
  peerVerdict @10 :Text;       # as this node sees its peer; also "silent"
  guest @11 :Text;             # "running", "warm", "paused", "powered off", or what stopped it
  version @12 :Text;           # of the program
  timeline @13 :List(Moment);  # what happened since the latest fault or command, in order
  gate @14 :Gate;
  last @15 :EpochNumbers;
  probes @16 :List(Probe);
  ended @17 :Text;             # how the guest ended by itself; empty: it lives

  struct Moment {
    name @0 :Text;
    monotonicNs @1 :UInt64;    # CLOCK_MONOTONIC of this host
    realtimeNs @2 :UInt64;
    term @3 :UInt64;
    text @4 :Text;
  }
  struct Gate {
    mode @0 :Text;             # hold, pair, solo, mute
    depthFrames @1 :UInt64;
    depthBytes @2 :UInt64;
    releasedFrames @3 :UInt64;
    droppedFrames @4 :UInt64;
  }
  struct EpochNumbers {        # of the latest epoch; zero before the first
    pauseUs @0 :UInt64;
    dirtyPages @1 :UInt64;
    sentBytes @2 :UInt64;
    ackUs @3 :UInt64;
    pauseMedianUs @4 :UInt64;  # over the last epochs (at most 1024)
    pauseP99Us @5 :UInt64;
  }
  struct Probe {
    path @0 :Text;
    health @1 :Text;
    text @2 :Text;
  }
}
