# The flight recorder's log, as it is stored and as `understudy explain` fetches it. Fields are only appended.
@0xd8f1b2c47a6e9053;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("understudy::schema");

# A stretch of a node's life: the node before it, and every input and decision in it.
struct FlightChunk {
  serial @0 :UInt64;            # rises by one; a new process goes on from the last that was stored
  version @1 :Text;             # of the program that recorded it
  decisions @2 :Text;           # the fingerprint of its decision code: only the same code can replay it
  startMonotonicNs @3 :Int64;
  startRealtimeNs @4 :Int64;
  steps @5 :UInt32;
  bodyBytes @6 :UInt32;         # of `body`, unpacked
  body @7 :Data;                # LZ4: the node's image, and the steps (flight_log.h)
  imageBytes @8 :UInt32;        # of the image, which begins the unpacked body
  missing @9 :UInt64;           # chunks before this one that could not be stored, since the process started
}

# What is worth telling a person.
struct FlightEvent {
  serial @0 :UInt64;
  monotonicNs @1 :Int64;
  realtimeNs @2 :Int64;
  term @3 :UInt64;
  role @4 :Text;
  severity @5 :UInt8;           # 0: debug, 1: info, 2: warning, 3: error
  kind @6 :Text;                # role, detected, granted, refused, command, answer, verdict, ...
  text @7 :Text;
}
