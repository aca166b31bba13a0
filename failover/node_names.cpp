// What goes in and out of a node, by name.
#include "failover/node_io.h"

namespace understudy {

const char* name_of(Role role) {
  switch (role) {
    case Role::kStarting:
      return "starting";
    case Role::kPrimary:
      return "primary";
    case Role::kSecondary:
      return "secondary";
    case Role::kSolo:
      return "solo";
    case Role::kFenced:
      return "fenced";
  }
  return "unknown";
}

const char* name_of(GateMode mode) {
  switch (mode) {
    case GateMode::kMute:
      return "mute";
    case GateMode::kHold:
      return "hold";
    case GateMode::kPair:
      return "pair";
    case GateMode::kSolo:
      return "solo";
  }
  return "unknown";
}

const char* name_of(CommandKind kind) {
  switch (kind) {
    case CommandKind::kSwitchover:
      return "switchover";
    case CommandKind::kTakeover:
      return "takeover";
    case CommandKind::kStart:
      return "start";
    case CommandKind::kHold:
      return "hold";
    case CommandKind::kRelease:
      return "release";
    case CommandKind::kFailback:
      return "failback";
    case CommandKind::kUnprotect:
      return "unprotect";
    case CommandKind::kProtect:
      return "protect";
    case CommandKind::kFence:
      return "fence";
    case CommandKind::kUnfence:
      return "unfence";
    case CommandKind::kGrant:
      return "grant";
  }
  return "unknown command";
}

const char* action::name_of(Milestone milestone) {
  switch (milestone) {
    case Milestone::kDetected:
      return "detected";
    case Milestone::kArbiterReached:
      return "arbiter reached";
    case Milestone::kPromised:
      return "promised";
    case Milestone::kGranted:
      return "granted";
    case Milestone::kTermStored:
      return "term stored";
  }
  return "unknown";
}

}  // namespace understudy
