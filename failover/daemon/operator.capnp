# Between `understudy` (the operator's command) and `understudyd`, over the daemon's local socket. The status is also what --json prints.
@0xc2d4a1f7e8b35960;

using Cxx = import "/capnp/c++.capnp";
using Flight = import "/failover/flight.capnp";
$Cxx.namespace("understudy::schema");

const operatorVersion :UInt16 = 1;

struct OperatorRequest {
  version @0 :UInt16;
  command @1 :Command;
  enum Command {
    status @0;
    switchover @1;
    takeover @2;
    console @3;
    balloon @4;
    start @5;
    powerButton @6;             # asks the guest to power off
    events @7;                  # the flight recorder's, from a serial on, oldest first
    flight @8;                  # its oldest chunk from a serial on
    hold @9;                    # neither node moves the guest by itself
    release @10;
    failback @11;
    unprotect @12;
    protect @13;
    fence @14;
    unfence @15;
    preflight @16;              # would a takeover work now
    grant @17;                  # without an arbiter: the operator's word that the other node does not run
    verify @18;                 # compares the guest's memory and state with the peer's image
    epochs @19;                 # the latest committed epochs, from a number on, oldest first
  }
  console @2 :ConsoleRequest;
  balloonMib @3 :Int64 = -1;    # how much the guest is asked to give back; -1: only tell
  from @4 :UInt64;              # the first serial wanted of the flight recorder; the first epoch wanted
  by @5 :Text;                  # who asks, for a person
  reason @6 :Text;              # hold, fence: for a person
  forSeconds @7 :UInt64;        # hold: so long; 0: until it is released
}

# One step of an attached console: input for the guest, or, without any, output from a place on.
struct ConsoleRequest {
  from @0 :UInt64;              # the next byte wanted of all that the guest wrote; the oldest kept is given for an older one
  input @1 :Data;
}
struct ConsoleReply {
  from @0 :UInt64;              # place of the first byte of `output`
  output @1 :Data;              # empty when none came within a second
  forInput @2 :Bool;
  taken @3 :UInt32;             # of the input; the rest is to be sent again
}

struct FlightReply {
  events @0 :List(Flight.FlightEvent);  # not more than 256; with none, there are none from that serial on
  chunk @1 :Data;                       # a stored FlightChunk; empty: there is none from that serial on
}

struct OperatorReply {
  version @0 :UInt16;
  ok @1 :Bool;
  sentence @2 :Text;    # what was done, or why not, for a person
  status @3 :Status;    # always there; empty in a console's step
  console @4 :ConsoleReply;
  flight @5 :FlightReply;
  preflight @6 :Preflight;
  verification @7 :Verification;
  epochs @8 :List(EpochLine);   # not more than 1024
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
  disks @17 :List(Disk);
  ended @18 :Text;             # how the guest ended by itself; empty: it lives
  arbiter @19 :Text;           # which it is, where, and what is wrong with it
  arbiterAnswers @20 :Bool;    # the latest question to it was answered
  incarnation @21 :Text;       # of this node, a number of 64 bits; for `understudyd arbiter seed`
  promise @22 :UInt64;         # this node acks no term below; a seed is above every term and promise
  hold @23 :Hold;
  fencedByOrder @24 :Text;     # not empty: an operator keeps this node out, and who
  wantsNoPeer @25 :Bool;       # the guest runs alone by an operator's order
  links @26 :Links;
  control @27 :Control;
  scrub @28 :Scrub;
  transfer @29 :Transfer;
  pacing @30 :Pacing;
  durable @31 :Durable;        # a secondary's cut on stable storage

  struct Durable {
    level @0 :Text;            # what an ack means: "memory" or "disk"; empty on other roles
    epoch @1 :UInt64;          # the cut's; 0: there is none
    behindMs @2 :UInt64;       # it is so much older than what is held in memory
    trouble @3 :Text;          # why it does not follow; empty: it does
    waitingBytes @4 :UInt64;   # of disk writes that are not on the image yet
  }

  struct Hold {                # maintenance: nothing moves by itself
    held @0 :Bool;
    by @1 :Text;
    reason @2 :Text;
    since @3 :Text;            # UTC
    until @4 :Text;            # UTC; empty: until it is released
    bothKnow @5 :Bool;         # the other node has said the same
  }

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
  struct Transfer {            # on a primary: of everything or of what may differ; the one under way, or the latest
    kind @0 :Text;             # "full" or "resync"; empty: there was none
    underWay @1 :Bool;
    sentBytes @2 :UInt64;      # pages and disks
    leftBytes @3 :UInt64;      # by what is known now
    tookMs @4 :UInt64;         # so far, or in all
  }
  struct Scrub {               # on a primary: comparing the guest's memory with the peer's image, pass after pass
    pages @0 :UInt64;          # of a pass
    position @1 :UInt64;       # of the one under way
    passes @2 :UInt64;         # done
    differing @3 :UInt64;      # pages that were not the same, since the start; each is sent again
    verifying @4 :Bool;        # at speed, for an operator
  }
  struct EpochNumbers {        # of the latest epoch; zero before the first
    pauseUs @0 :UInt64;
    dirtyPages @1 :UInt64;
    sentBytes @2 :UInt64;
    ackUs @3 :UInt64;
    pauseMedianUs @4 :UInt64;  # over the last epochs (at most 1024)
    pauseP99Us @5 :UInt64;
  }
  struct Pacing {              # when epochs end, on a primary
    shortestUs @0 :UInt64;     # an epoch with output lasts so long at least
    bound @1 :Text;            # why: "nothing", "the guest's loss of time", "the use of the link", "the longest epoch", "the budget"
    lateMedianUs @2 :UInt64;   # so late is an epoch's first output, of the latest 256 with any; 0: there were none
    lateP99Us @3 :UInt64;
    broken @4 :Text;           # not empty: the budget is not held, and why
  }
  struct Probe {
    path @0 :Text;
    health @1 :Text;           # unknown, healthy, degraded, suspected (failed, where the other node is well), failed
    text @2 :Text;
    name @3 :Text;             # of the probe: several may look at a path
    ageMs @4 :UInt64;          # since it said so
  }
  struct Links {               # what did not come through, since the start
    insecure @0 :Bool;         # by configuration: without keys
    refused @1 :UInt64;        # connections
    lastRefused @2 :Text;      # the latest: from where, and why
    strangers @3 :UInt64;      # messages in another name than the peer's
    oversized @4 :UInt64;      # messages of too many or too large frames
    malformed @5 :UInt64;      # messages that no decoder took
    stale @6 :UInt64;          # messages of an older term, session or incarnation, and repeated heartbeats
  }
  struct Control {             # of the control socket
    refused @0 :UInt64;        # requests of users who may not
    lastRefused @1 :Text;
  }
  struct Disk {                # as the host serves it
    id @0 :Text;
    outstanding @1 :UInt64;    # requests of the guest, and writes of the peer's, that are not done
    oldestMs @2 :UInt64;       # for so long the oldest of them waits
    completed @3 :UInt64;
    errors @4 :UInt64;         # attempts that failed; each is tried again
    lastError @5 :Text;
  }
}

# What a command with --json prints that is done or refused.
struct Said {
  ok @0 :Bool;
  sentence @1 :Text;
}

# What `understudy preflight --json` prints.
struct Preflight {
  answer @0 :Text;              # yes, no, unknown
  by @1 :Text;                  # "a" or "b": who would take over
  lost @2 :Text;                # what nobody would see again
  detectMs @3 :Float64;         # until a silent host is taken for lost; this and the next two: -1 when it is not known here
  arbitrateMs @4 :Float64;      # until the term is granted
  restoreMs @5 :Float64;        # from the grant until the guest runs, as measured on this host
  checks @6 :List(Check);

  struct Check {
    grade @0 :Text;             # good, noted, unknown, bad
    found @1 :Text;
    mend @2 :Text;
  }
}

# What `understudy verify --json` prints.
struct Verification {
  same @0 :Bool;
  term @1 :UInt64;
  fromEpoch @2 :UInt64;         # each page was compared at the end of one of these, the last included
  toEpoch @3 :UInt64;
  pages @4 :UInt64;             # of guest memory, 4 KiB each
  differing @5 :UInt64;         # that were not the same; they are sent again
  examples @6 :List(UInt64);    # the first of them
  stateDiffers @7 :Bool;        # the machine's state was not
}

# What `understudy events --json` prints, one a line.
struct EventLine {
  serial @0 :UInt64;           # rises
  time @1 :Text;               # UTC: 2026-11-24T15:41:03.118204Z
  term @2 :UInt64;
  role @3 :Text;               # of the node, after it
  severity @4 :Text;           # debug, info, warning, error
  kind @5 :Text;
  text @6 :Text;
  monotonicNs @7 :UInt64;      # CLOCK_MONOTONIC of this host
}

# What `understudy epochs --json` prints, one a line: a committed epoch of the primary's.
struct EpochLine {
  epoch @0 :UInt64;
  pauseUs @1 :UInt64;          # the vCPUs stood still
  dirtyPages @2 :UInt64;
  sentBytes @3 :UInt64;        # pages, state and disk writes, as sent; without the link's own
  ackUs @4 :UInt64;            # from the guest's resume to the peer's ack
  gateFrames @5 :UInt64;       # that waited when the ack came
}

# What `understudy explain --json` prints.
struct Explanation {
  status @0 :Status;           # empty when the daemon does not run
  how @1 :List(EventLine);     # what led to the latest change of roles, and came of it
  since @2 :List(EventLine);   # warnings and errors since then, and what operators asked
}

# What `understudy explain --replay --json` prints.
struct Replay {
  chunks @0 :UInt64;
  steps @1 :UInt64;
  decisions @2 :UInt64;        # steps of which something came
  otherVersions @3 :UInt64;    # chunks that another version recorded: not replayed
  missing @4 :UInt64;          # chunks that could not be stored
  from @5 :Text;               # UTC
  to @6 :Text;
  differences @7 :List(Text);  # empty: it came out the same
}

# What `understudy doctor --json` prints is the list.
struct Findings {
  findings @0 :List(Finding);

  struct Finding {
    grade @0 :Text;            # good, warning, bad
    part @1 :Text;
    found @2 :Text;
    mend @3 :Text;
  }
}
