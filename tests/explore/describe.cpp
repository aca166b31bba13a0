// Worlds and choices in words, for whoever reads a trace.
#include "tests/explore/model.h"

namespace understudy::explore {
namespace {

std::string host_name(std::size_t host) { return name_of(static_cast<NodeId>(host & 1)); }
std::string number(std::uint64_t value) { return std::to_string(value); }

const char* kind_name(ProposalKind kind) {
  switch (kind) {
    case ProposalKind::kBootstrap:
      return "bootstrap";
    case ProposalKind::kTakeover:
      return "takeover";
    case ProposalKind::kSolo:
      return "solo";
    case ProposalKind::kReprotect:
      return "re-protection";
    case ProposalKind::kSwitchover:
      return "switchover";
    case ProposalKind::kRenew:
      return "renewal";
  }
  return "?";
}

const char* parcel_name(std::uint8_t kind) {
  static constexpr const char* kNames[] = {"nothing", "hello", "welcome", "refusal", "overwrite", "epoch", "ack"};
  return kNames[kind];
}

std::string text_of(const ArbiterRecord& record) {
  return "term " + number(record.term.raw()) + (record.mode == PairMode::kSolo ? " solo " : " pair ") + name_of(record.holder.node) + "/" +
         number(record.holder.incarnation.raw());
}

std::string text_of(const NodeBook& book, const Letter& letter) {
  switch (letter.kind) {
    case Letter::kHeartbeat: {
      const Heartbeat& beat = book.heartbeat(letter.body);
      return "heartbeat " + number(beat.sequence) + " of " + host_name(letter.host) + "/" + number(beat.sender.incarnation.raw()) + " (" +
             name_of(beat.role) + ", term " + number(beat.term.raw()) + ", promise " + number(beat.promise.raw()) + ")";
    }
    case Letter::kRequest: {
      const std::string asker = host_name(letter.host) + "/" + number(letter.incarnation);
      if (letter.body == 0) return asker + " reads the record";
      const Proposal& proposal = book.proposal(letter.body - 1);
      return asker + " proposes " + kind_name(proposal.kind) + " on term " + number(proposal.expected_term.raw());
    }
    default: {
      const ArbiterAnswer& answer = book.answer(letter.body);
      return "answer to " + host_name(letter.host) + "/" + number(letter.incarnation) + ": " + (answer.granted ? "granted, " : "") +
             (answer.record ? text_of(*answer.record) : "no record");
    }
  }
}

std::string text_of(const Parcel& parcel) {
  return std::string{parcel_name(parcel.kind)} + " of session " + number(parcel.session) + " term " + number(parcel.term) + " epoch " +
         number(parcel.epoch) + (parcel.full != 0 ? " full" : "");
}

std::string text_of(std::uint8_t links) {
  std::string text;
  if ((links & kAToB) != 0) text += " a->b";
  if ((links & kBToA) != 0) text += " b->a";
  if ((links & kAToArbiter) != 0) text += " a-arbiter";
  if ((links & kBToArbiter) != 0) text += " b-arbiter";
  return text;
}

}  // namespace

const char* name_of(Plant plant) {
  switch (plant) {
    case Plant::kNothing:
      return "nothing";
    case Plant::kArbiterGrantsTwice:
      return "arbiter-grants-twice";
    case Plant::kArbiterGrantsToAnyone:
      return "arbiter-grants-to-anyone";
    case Plant::kArbiterForgets:
      return "arbiter-forgets";
    case Plant::kSoloStrikesNobody:
      return "solo-strikes-nobody";
    case Plant::kGateOpensTooEarly:
      return "gate-opens-too-early";
    case Plant::kAckOpensTooMuch:
      return "ack-opens-too-much";
    case Plant::kGateHidesOutput:
      return "gate-hides-output";
    case Plant::kStoreLies:
      return "store-lies";
    case Plant::kAcksBelowPromise:
      return "acks-below-promise";
    case Plant::kForeignAckCounts:
      return "foreign-ack-counts";
    case Plant::kPromiseNotAwaited:
      return "promise-not-awaited";
  }
  return "?";
}

std::string Model::describe(const World& world, const Choice& choice) const {
  const std::string host = host_name(choice.a);
  const auto letter = [&] { return text_of(book_, world.letters[choice.a]); };
  switch (choice.kind) {
    case Choice::kDeliver:
      return "arrives: " + letter();
    case Choice::kStream:
      return "arrives from " + host + ": " + text_of(world.stream[choice.a].items[0]) + (choice.b != 0 ? ", answered in full" : "");
    case Choice::kTickNode:
      return host + " ticks";
    case Choice::kWriteDone:
      return host + "'s store has synced";
    case Choice::kGateAnswers:
      return host + "'s gate answers";
    case Choice::kOrderDone:
      return host + "'s guest does as ordered";
    case Choice::kRejoin:
      return host + " starts over";
    case Choice::kOutput:
      return host + "'s guest sends";
    case Choice::kCapture:
      return host + "'s epoch ends";
    case Choice::kTick:
      return "time passes";
    case Choice::kRestart:
      return host + " is started";
    case Choice::kWake:
      return host + " goes on" + (choice.b != 0 ? ", told of the gap" : "");
    case Choice::kArbiterUp:
      return "the arbiter is started";
    case Choice::kHeal:
      return "healed:" + text_of(choice.a);
    case Choice::kPathMended:
      return host + "'s path works again";
    case Choice::kCommand:
      return "an operator at " + host + ": " + name_of(static_cast<CommandKind>(choice.b));
    case Choice::kLose:
      return "LOST: " + letter();
    case Choice::kPutOff:
      return "DELAYED: " + letter();
    case Choice::kRepeat:
      return "arrives, and AGAIN LATER: " + letter();
    case Choice::kPutOffLocal:
      return "DELAYED at " + host + ": " +
             (choice.b == kLateWrite   ? "the store's write"
              : choice.b == kLateOrder ? "the guest"
                                       : "the gate");
    case Choice::kWriteFails:
      return host + "'s store FAILS" + (choice.b != 0 ? ", though it has written" : "");
    case Choice::kCrash:
      return host + " CRASHES, " + number(choice.b) + " of its writes took effect";
    case Choice::kStop:
      return host + " STOPS";
    case Choice::kArbiterDown:
      return "the arbiter CRASHES";
    case Choice::kCut:
      return "CUT:" + text_of(choice.a);
    case Choice::kPathFails:
      return host + "'s path " + (choice.b == static_cast<std::uint8_t>(PathState::kFailed) ? "FAILS" : "HANGS");
    case Choice::kBreakSession:
      return host + "'s session BREAKS";
    default:
      return "?";
  }
}

std::string Model::describe(const World& world) const {
  std::string text = "t" + number(world.time);
  for (std::size_t host = 0; host < 2; ++host) {
    const Process& process = world.process[host];
    text += "; " + host_name(host);
    if (process.incarnation == 0) {
      text += " down";
      continue;
    }
    const NodeStatus status = book_.node(world.node[host]).status();
    text += "/" + number(process.incarnation) + " " + name_of(status.role) + " term " + number(status.term.raw()) + " promise " +
            number(status.promise.raw()) + " gate " + name_of(process.gate);
    if (process.guest != GuestState::kNone) text += " guest " + number(process.branch) + "." + number(process.open_epoch);
    if (process.image_whole != 0) text += " image " + number(process.image.branch) + "." + number(process.image.epoch);
    if (process.stopped != 0) text += " stopped";
  }
  const WitnessPair& pair = book_.pair(world.arbiter);
  return text + "; arbiter " + (pair.record ? text_of(*pair.record) : "empty");
}

}  // namespace understudy::explore
