// What can happen next in a world, and what becomes of it: the rules of the explored pair's surroundings. The nodes are the real ones, and
// so are the arbiter's rules; network, stores, sessions, gates and guests are modelled (see README.md).
#pragma once

#include <string>
#include <vector>

#include "tests/explore/judge.h"
#include "tests/explore/world.h"

namespace understudy::explore {

// Rules broken on purpose, to prove that the exploration sees it.
enum class Plant : std::uint8_t {
  kNothing,
  kArbiterGrantsTwice,     // it grants what was asked for on an older term
  kArbiterGrantsToAnyone,  // it does not look who is eligible
  kArbiterForgets,         // it answers before its record is on stable storage, and crashes
  kSoloStrikesNobody,      // the record of a solo holder leaves the peer eligible
  kGateOpensTooEarly,      // output does not wait for its epoch
  kAckOpensTooMuch,        // an ack lets the next epoch's output go, too
  kGateHidesOutput,        // the gate claims that nothing left before it began to wait
  kStoreLies,              // it answers before it has synced
  kAcksBelowPromise,       // the secondary's session ignores its floor
  kForeignAckCounts,       // an ack of any session opens the gate, in any term
  kPromiseNotAwaited,      // the node asks for the term without a promise on stable storage (a wrapper answers in the store's name)
  kLast = kPromiseNotAwaited,
};
const char* name_of(Plant plant);

struct Bounds {
  Budget budget{};
  std::uint8_t horizon = 0;  // ticks
  // What operators say, at whichever node may be asked. (A guest's start is not explored.)
  std::vector<CommandKind> commands{CommandKind::kSwitchover, CommandKind::kTakeover};
};

struct Choice {
  enum Kind : std::uint8_t {
    // What is due: a tick ends only when all of it was done or put off.
    kDeliver,      // a: letter
    kStream,       // a: sender, b: 1 if its answer is a full transfer although a short one would do
    kTickNode,     // a: host
    kWriteDone,    // a
    kGateAnswers,  // a
    kOrderDone,    // a
    kRejoin,       // a
    // What guests and operators do, and time.
    kOutput,   // a
    kCapture,  // a
    kTick,
    kRestart,     // a
    kWake,        // a, b: 1 if the daemon tells of the gap
    kArbiterUp,   //
    kHeal,        // a: Link
    kPathMended,  // a
    kCommand,     // a, b: CommandKind
    // Faults.
    kLose,          // a: letter
    kPutOff,        // a: letter
    kRepeat,        // a: letter
    kPutOffLocal,   // a: host, b: Late
    kWriteFails,    // a, b: 1 if it took effect all the same
    kCrash,         // a, b: how many of its writes under way took effect
    kStop,          // a
    kArbiterDown,   //
    kCut,           // a: bits of Link
    kPathFails,     // a, b: PathState
    kBreakSession,  // a: its primary
  };
  std::uint8_t kind = kTick;
  std::uint8_t a = 0;
  std::uint8_t b = 0;
};

class Model {
 public:
  Model(NodeBook& book, Bounds bounds, Plant plant) : book_{book}, bounds_{bounds}, plant_{plant} {}

  // Two processes that have just begun, and an arbiter that knows nothing of them.
  World new_pair();
  // All that can happen in `world`, what needs no fault first.
  void choices(const World& world, std::vector<Choice>& out) const;
  bool is_due(const Choice& choice) const { return choice.kind <= Choice::kRejoin && choice.b == 0; }
  // Lets it happen. A rule that it broke is returned.
  Broken apply(World& world, const Choice& choice);
  void set_bounds(const Bounds& bounds) { bounds_ = bounds; }

  std::string describe(const World& world, const Choice& choice) const;
  std::string describe(const World& world) const;

 private:
  // model.cpp: choices, letters, faults
  void add_due(const World& world, std::vector<Choice>& out) const;
  void add_own(const World& world, std::vector<Choice>& out) const;
  void add_letter_faults(const World& world, std::vector<Choice>& out) const;
  void add_host_faults(const World& world, std::size_t host, std::vector<Choice>& out) const;
  bool can_receive(const World& world, std::size_t host) const {
    return world.process[host].incarnation != 0 && world.process[host].stopped == 0;
  }
  bool deliverable(const World& world, const Letter& letter) const;
  bool cut_off(const World& world, const Letter& letter) const;
  bool order_ready(const Process& process) const;
  void write(World& world, const Letter& letter);
  void deliver(World& world, const Letter& letter);
  void drop_letters(World& world, bool (*gone)(const World&, const Letter&));
  void arbitrate(World& world, const Letter& request);
  void start(World& world, std::size_t host);
  void crash(World& world, std::size_t host, std::uint8_t landed);
  void write_done(World& world, std::size_t host, bool lands, bool answers);
  void pass_time(World& world);
  void cut(World& world, std::uint8_t links);
  void break_rule(Broken broken) {
    if (broken_ == nullptr) broken_ = broken;
  }

  // deeds.cpp: what the node orders
  void feed(World& world, std::size_t host, const Event& event);
  void carry_out(World& world, std::size_t host, const Deed& deed);
  void set_gate(World& world, std::size_t host, const Deed& deed);
  void finish_guest(World& world, std::size_t host);
  void order_done(World& world, std::size_t host);
  void release(World& world, std::size_t host, std::uint16_t epochs);

  // session.cpp: the guest's epochs and both ends of the session
  void send(World& world, std::size_t host, Parcel parcel);
  void send_epoch(World& world, std::size_t host, std::uint8_t epoch);
  void hello(World& world, std::size_t host);
  void capture(World& world, std::size_t host);
  void output(World& world, std::size_t host);
  void receive(World& world, std::size_t host, const Parcel& parcel, bool full_resync);
  void receive_as_secondary(World& world, std::size_t host, const Parcel& parcel);
  void tick_session(World& world, std::size_t host);
  void break_session(World& world, std::size_t host);
  static void end_session(Process& process);

  NodeBook& book_;
  Bounds bounds_;
  const Plant plant_;
  Broken broken_ = nullptr;
};

}  // namespace understudy::explore
