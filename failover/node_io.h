// What goes into the node's state machine and what comes out: facts in, actions out, all plain data.
//
// The daemon turns the world into inputs and carries the actions out, in the order given. An action that can take time has an input that
// answers it, named in its comment; an answer may be late, repeated or (for arbiter and peer) lost: the node repeats what it still needs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "failover/arbiter.h"
#include "failover/probe.h"
#include "net/base/clock.h"
#include "net/base/ids.h"
#include "net/base/log.h"

namespace understudy {

enum class Role : std::uint8_t {
  kStarting = 0,   // has not yet learned what the arbiter's record says
  kPrimary = 1,    // runs the guest; a peer is eligible to take over
  kSecondary = 2,  // holds the guest's image, or waits to receive it
  kSolo = 3,       // runs the guest without a peer, by grant
  kFenced = 4,     // must not run the guest: another has it, or its image here is lost
};
const char* name_of(Role role);

enum class GateMode : std::uint8_t {
  kMute,  // nothing leaves, now or later: what waits is dropped
  kHold,  // nothing leaves, but what waits is kept (a switch to kPair or kSolo of the same term goes on with it)
  kPair,  // a frame leaves once its epoch is acked in `term` by `peer` in the running session
  kSolo,  // frames leave at once
};
const char* name_of(GateMode mode);

// An epoch with the term it was committed in. (Same meaning as the epoch store's CommittedEpoch, which this layer doesn't see.)
struct EpochPosition {
  Term term;
  Epoch epoch;
  friend auto operator<=>(const EpochPosition&, const EpochPosition&) = default;
};

// The primary has paused the guest after `final_epoch`, which is committed and fully released, and asks the peer to take the next term.
struct HandoverOffer {
  Term term;  // the offer is void in any other term
  EpochPosition final_epoch;
  friend bool operator==(const HandoverOffer&, const HandoverOffer&) = default;
};

// An operator's word that the pair does not move by itself (maintenance). Both nodes keep it, in their stores and in their heartbeats; of
// two words the newer() one counts, on whichever node it was said.
struct Hold {
  std::uint64_t revision = 0;  // rises with each hold and release; 0: there never was one
  bool held = false;           // false: released
  std::uint64_t since_ns = 0;  // CLOCK_REALTIME where it was said: for people, and to order two words of one revision
  std::uint64_t until_ns = 0;  // likewise: it ends by itself then; 0: it does not
  std::string by;              // who said it, for a person
  std::string reason;          // for a person; may be empty
  friend bool operator==(const Hold&, const Hold&) = default;
};
// A total order, so that both nodes end with the same word. Of two that were said at once, a hold counts more than a release, and a longer
// one more than a shorter.
bool newer(const Hold& one, const Hold& other);
// No pair lives to see so many.
inline constexpr std::uint64_t kMaxHoldRevision = std::uint64_t{1} << 62;

// What an operator ordered of this node for longer than its process lives.
struct StandingOrders {
  Hold hold;
  std::string fenced;  // not empty: it is kept from running or holding the guest, and by whom
  friend bool operator==(const StandingOrders&, const StandingOrders&) = default;
};

// Sent every NodeConfig::heartbeat_every and at each change. Wire form: failover.capnp, kind 32.
struct Heartbeat {
  NodeIncarnation sender;
  std::uint64_t sequence = 0;       // rises by one with each heartbeat of an incarnation
  Incarnation echo_incarnation;     // whose heartbeat is echoed; 0: none was received yet
  std::uint64_t echo_sequence = 0;  // the newest received from the other node: proves that this message is fresh
  Role role = Role::kStarting;
  Term term;                   // highest term the sender has acted in, or follows as secondary
  Term promise;                // on its stable storage: it acks no lower term
  bool has_history = false;    // its store has ever held a term, a promise or a committed epoch
  bool image_whole = false;    // a secondary's image equals one committed epoch
  EpochPosition committed;     // newest epoch the sender knows to be committed: the progress that counts
  Incarnation eligible_peer;   // by the sender's record: the receiver's incarnation that may be granted the next term; 0: none
  bool guest_stopped = false;  // the guest is over, by itself, and nobody may revive it any more
  std::string guest;           // what a holder has to say of its guest: how it ended, that it panicked or was rebooted; empty: nothing
  std::optional<HandoverOffer> handover;
  std::string refusal;                 // why the sender can't accept the handover offered to it; empty: it does not refuse
  std::vector<PathEvidence> evidence;  // at most one per path
  bool just_moved = false;             // the guest moved to the sender less than NodeConfig::hold_down ago
  Hold hold;
  std::optional<Duration> hold_ends_in;  // of a hold that ends by itself: so long after this was sent
  bool wants_no_peer = false;            // a holder whose operator wants it to run alone
};

enum class CommandKind : std::uint8_t {
  kSwitchover,  // at the primary: hand over to the peer, both alive
  kTakeover,    // at the secondary: take over now
  kStart,       // start a guest again that ended by itself: at its holder, or at the secondary when the holder is gone
  kHold,        // either node: neither moves the guest by itself from now on
  kRelease,     // either node: ends a hold
  kFailback,    // at the primary: a switchover to the node that is the guest's home
  kUnprotect,   // at the holder: go on without a peer, by grant
  kProtect,     // at the holder: take a peer again
  kFence,       // this node must not run or hold the guest; a primary hands it over first
  kUnfence,     // it joins the pair again
  kGrant,       // without an arbiter: what this node waits for is granted, on the operator's word that the other one does not run
};
const char* name_of(CommandKind kind);           // as the operator's command is called
using CommandId = StrongU64<struct CommandTag>;  // chosen by the daemon; its answer carries it
using AskId = StrongU64<struct AskTag>;          // chosen by the node: one call of the arbiter

// ---------------------------------------------------------------------------------------------------------------- inputs
namespace input {

// Once, first. `term`, `promise` and `committed` come from the store; self.incarnation is new whenever the image was lost, which is at
// every start of the process until images outlive it.
struct Started {
  NodeIncarnation self;
  Term term;
  Term promise;
  EpochPosition committed;
  std::string ended{};                     // how the guest ended, if it had; also from the store
  StandingOrders orders{};                 // likewise
  std::optional<Duration> hold_ends_in{};  // of a hold that ends by itself: so long from now
};
struct Tick {};  // every 10 ms or so
struct HeartbeatReceived {
  Heartbeat heartbeat;
};
struct PeerConnection {
  bool connected = false;  // a transport's hint, never proof
};

// Sessions, either side.
struct SessionUp {  // the handshake is done
  Session session;
  Term term;
  Incarnation peer;
};
// Secondary: a full transfer begins to overwrite the image held so far, which is no whole epoch from now on.
struct ImageOverwritten {};
// Primary: the peer holds all of `at`. Secondary: this node does, and has acked it. The first in a session makes the image whole.
struct EpochCommitted {
  Session session;
  EpochPosition at;
  std::string ended{};  // not empty: the guest is over at its end, and how it ended
};
struct SessionActivity {};  // secondary: part of an epoch arrived; a sign of life, no progress
struct SessionBroken {      // over; as primary the node may start another, which catches up if it can
  std::string reason;
};
struct SessionRefused {  // primary: the peer answered the handshake or an epoch with a refusal
  Term peer_promise;     // its floor, where that is why; else 0
  std::string reason;
};

struct Probed {
  ProbeReport report;
};

// Answers of the arbiter to action::ReadArbiter and action::Propose.
struct ArbiterAnswered {
  AskId ask;
  ArbiterAnswer answer;
};
struct ArbiterFailed {
  AskId ask;
  std::string reason;
};

// Answers of the store.
struct PromisePersisted {
  Term promise;
};
struct TermPersisted {
  Term term;
};
struct OrdersPersisted {
  std::uint64_t order = 0;  // the action's
};
// Answers action::FencePeer. The other host is off, or its agent could not say so.
struct PeerFenced {
  Term term;  // the action's
  bool ok = false;
  std::string text;  // for a person
};
// The other node, granted `term`, wants this one to stop (poison_pill.h).
struct Poisoned {
  Term term;
};
struct StoreFailed {  // a put failed or its deadline passed
  std::string reason;
};

// Answers action::SetGate: the mode is in force. `open_epoch`: the newest epoch to which a frame can belong that left before this.
struct GateSet {
  std::uint64_t order = 0;  // the action's
  Epoch open_epoch;
};
// Answers action::BootGuest, action::TakeOver, action::ResumeGuest, action::RestartGuest and action::RecoverGuest: the guest runs.
struct GuestRunning {
  Term term;
};
struct GuestFailed {
  Term term;
  std::string reason;
};
// Answers action::FinishGuest. Finished: the guest stands, the final epoch is committed on the peer and the gate is empty.
struct HandoverFinished {
  EpochPosition final_epoch;
};
struct HandoverFailed {
  std::string reason;
};

struct LoopGap {  // the node's own loop stood still for `length`: a stop or a long stall. Feed it before anything that waited meanwhile.
  Duration length{};
};
struct Command {
  CommandId id;
  CommandKind kind = CommandKind::kSwitchover;
  std::string by{};      // who asks, for a person
  std::string reason{};  // kHold, kFence: for a person
  // kHold, kRelease: CLOCK_REALTIME, and how long the hold lasts; nullopt: until it is released.
  std::uint64_t now_ns = 0;
  std::optional<Duration> length{};
};
// The guest is over, by itself: powered off, or ended in a way after which it is not to be started again. Also answers action::TakeOver,
// where the image is one of such a guest, and action::RecoverGuest.
struct GuestStopped {
  std::string ended;  // one sentence, with the time of day
};
struct GuestBroken {  // KVM gave up on the guest, which may be this host's fault; it stands
  std::string reason;
};
struct GuestNoted {  // worth telling on both nodes, and no end: a panic, a reboot
  std::string text;
};

}  // namespace input

using Input = std::variant<input::Started, input::Tick, input::HeartbeatReceived, input::PeerConnection, input::SessionUp,
                           input::ImageOverwritten, input::EpochCommitted, input::SessionActivity, input::SessionBroken,
                           input::SessionRefused, input::Probed, input::ArbiterAnswered, input::ArbiterFailed, input::PromisePersisted,
                           input::TermPersisted, input::OrdersPersisted, input::PeerFenced, input::Poisoned, input::StoreFailed,
                           input::GateSet, input::GuestRunning, input::GuestFailed, input::HandoverFinished, input::HandoverFailed,
                           input::LoopGap, input::Command, input::GuestStopped, input::GuestBroken, input::GuestNoted>;

// --------------------------------------------------------------------------------------------------------------- actions
namespace action {

struct ReadArbiter {  // -> ArbiterAnswered, ArbiterFailed
  AskId ask;
};
struct Propose {  // -> ArbiterAnswered, ArbiterFailed
  AskId ask;
  Proposal proposal;
};
// At once: the secondary session acks and accepts nothing below `promise`. Then sync it. -> PromisePersisted, StoreFailed
struct PersistPromise {
  Term promise;
};
struct PersistTerm {  // -> TermPersisted, StoreFailed
  Term term;
  // This node was granted it and is about to run the guest: no cut of a lower term that is stored here may be started from any more.
  bool holding = false;
};
struct PersistEnd {  // how the guest ended; empty: it lives. Not answered
  std::string ended;
};
struct PersistOrders {      // -> OrdersPersisted, StoreFailed
  std::uint64_t order = 0;  // rises; the answer carries it
  StandingOrders orders;
};
// The other host is to be switched off: this node was granted `term`. -> PeerFenced
struct FencePeer {
  Term term;
};
struct SendHeartbeat {
  Heartbeat heartbeat;
};

// The guest.
struct BootGuest {  // boots it afresh -> GuestRunning, GuestFailed
  Term term;
};
// Restores the committed image and runs; the gate is set before -> GuestRunning, GuestFailed. A guest that is over in that image stays so
// (-> GuestStopped) unless `start` says that it is started anew.
struct TakeOver {
  Term term;
  bool start = false;
};
struct FinishGuest {
};                    // switchover: pause, commit a final epoch, empty the gate; the guest stays paused -> HandoverFinished, HandoverFailed
struct ResumeGuest {  // after FinishGuest, finished or failed, when it goes on here after all -> GuestRunning, GuestFailed
  Term term;
};
struct RestartGuest {  // starts the guest that ended anew, at an epoch's boundary -> GuestRunning, GuestFailed
  Term term;
};
struct RecoverGuest {  // KVM gave up and nobody takes over: as after a crash, by the configured policy -> GuestRunning, GuestStopped
  Term term;
};
struct StopGuest {  // this node must not run it: stop the vCPUs for good, at once; its image here is history
  std::string reason;
};

// Sessions.
struct StartSession {  // as primary, to this incarnation of the peer; retries the handshake by itself -> SessionUp, SessionRefused
  Term term;
  NodeIncarnation peer;
  std::optional<EpochPosition> base;  // the peer's image is this epoch, whole, and so is ours: no full transfer needed
};
struct RaiseSessionTerm {  // the running session goes on in a higher term
  Term term;
};
struct StopSession {};   // as primary, and forgets the peer's image: the next session sends everything
struct AcceptSessions {  // as secondary: of `floor` or above; again whenever the floor rises
  Term floor;
  bool keep_image = false;  // the paused machine's memory is a whole epoch (an old primary after a switchover)
};
struct RefuseSessions {};  // no longer a secondary; ends a running one: after this no further epoch commits here

struct SetGate {            // -> GateSet
  std::uint64_t order = 0;  // rises; the answer carries it
  GateMode mode = GateMode::kMute;
  Term term{};
  Incarnation peer{};  // kPair: whose acks count
};
struct AnnounceAddress {};  // gratuitous ARP and the like on the service segment

struct Rejoin {  // a fenced node starts over with an empty image and a new incarnation (a fresh process, or as good as that)
  std::string reason;
};
struct CommandResult {
  CommandId id;
  bool ok = false;
  std::string sentence;
};
struct LogEvent {
  Severity severity = Severity::kInfo;
  std::string event;
  std::vector<std::pair<std::string, std::string>> fields;
};
// Instants for the takeover's timeline; the daemon adds restored, first instruction and first packet.
enum class Milestone : std::uint8_t { kDetected, kArbiterReached, kPromised, kGranted, kTermStored };
const char* name_of(Milestone milestone);
struct Timeline {
  Milestone milestone = Milestone::kDetected;
  Instant at;
  std::string text;  // kDetected: the verdict, naming the path
};

}  // namespace action

using Action =
    std::variant<action::ReadArbiter, action::Propose, action::PersistPromise, action::PersistTerm, action::PersistEnd,
                 action::PersistOrders, action::FencePeer, action::SendHeartbeat, action::BootGuest, action::TakeOver, action::FinishGuest,
                 action::ResumeGuest, action::RestartGuest, action::RecoverGuest, action::StopGuest, action::StartSession,
                 action::RaiseSessionTerm, action::StopSession, action::AcceptSessions, action::RefuseSessions, action::SetGate,
                 action::AnnounceAddress, action::Rejoin, action::CommandResult, action::LogEvent, action::Timeline>;

}  // namespace understudy
