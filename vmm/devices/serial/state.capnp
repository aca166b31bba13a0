# A serial port's registers and the characters that its guest has not read yet.
@0xd5a0f2f6c3b94e11;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("understudy::schema");

struct SerialState {
  interruptEnable @0 :UInt8;
  fifoControl @1 :UInt8;
  lineControl @2 :UInt8;
  modemControl @3 :UInt8;
  scratch @4 :UInt8;
  divisor @5 :UInt16;
  transmitEmptyPending @6 :Bool;
  overrun @7 :Bool;
  input @8 :Data;                # oldest first
}
