// One state of the explored pair, as plain bytes: equal worlds have equal bytes, so that they can be told apart by a digest and kept by
// the million. Nodes, heartbeats, proposals and answers are numbers in the NodeBook.
//
// The guest's past is a tree. A guest that is booted or taken over in term T is branch T, which leaves the branch before it at the epoch
// that was taken over. Whatever a guest sends in an epoch is at one point, (branch, epoch); an image holds all points up to its own.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tests/explore/node_book.h"

namespace understudy::explore {

inline constexpr std::size_t kTerms = 20;    // terms that a run may reach, from 0
inline constexpr std::size_t kEpochs = 16;   // epochs likewise
inline constexpr std::size_t kLetters = 14;  // messages under way at once
inline constexpr std::size_t kParcels = 8;   // in one direction of the session's stream

// What a fault or an outer event costs: the bounds say how many of each a run may have.
enum class Cost : std::uint8_t {
  kFault,  // any of the faults below, together
  kLoss,
  kDelay,   // of a message, a store's write, a guest's start or a gate's answer: it may come at any later time, or never
  kRepeat,  // a message comes now and again at any later time
  kCut,     // a link, in one direction or both
  kCrash,
  kStop,
  kArbiterCrash,
  kStoreFailure,
  kPathFailure,  // a probe reports failure, or no more at all
  kBreak,        // of the session
  kFullResync,   // a session sends everything although it could catch up
  kCommand,      // an operator's switchover or takeover
  kOutput,       // the guest sends a frame
  kCapture,      // the guest's epoch ends
  kCount,
};
inline constexpr std::size_t kCosts = static_cast<std::size_t>(Cost::kCount);
using Budget = std::array<std::uint8_t, kCosts>;

struct Point {
  std::uint8_t branch = 0;  // 0: nothing was ever sent
  std::uint8_t epoch = 0;
  friend bool operator==(const Point&, const Point&) = default;
};

// A message that may be lost, delayed, repeated and overtaken. What of one kind goes one way keeps its order, as on a connection, but for
// what was put off: the order of the fields is the order in which they arrive.
struct Letter {
  enum Kind : std::uint8_t { kHeartbeat, kRequest, kReply };
  std::uint8_t kind = kHeartbeat;
  std::uint8_t host = 0;         // sender of a heartbeat or request, receiver of a reply
  std::uint8_t late = 0;         // nobody waits for it
  std::uint8_t incarnation = 0;  // of that host
  std::uint16_t order = 0;       // a heartbeat's sequence, else its ask
  std::uint16_t reserved = 0;
  std::uint32_t body = 0;  // heartbeat; proposal + 1, or 0 to read; answer
  friend auto operator<=>(const Letter&, const Letter&) = default;
  bool same_way(const Letter& other) const { return kind == other.kind && host == other.host && late == other.late; }
};

// A message of a session: the stream keeps its order.
struct Parcel {
  enum Kind : std::uint8_t { kNone, kHello, kWelcome, kRefuse, kOverwrite, kEpoch, kAck };
  std::uint8_t kind = kNone;
  std::uint8_t session = 0;
  std::uint8_t term = 0;
  std::uint8_t sender = 0;
  std::uint8_t receiver = 0;
  std::uint8_t epoch = 0;     // kHello: the first one comes after it
  std::uint8_t full = 0;      // kEpoch: of a full transfer
  std::uint8_t previous = 0;  // kEpoch: builds on this one
  Point image{};              // kEpoch; kWelcome: what the secondary holds
};

template <class T, std::size_t N>
struct Queue {
  std::array<T, N> items;
  std::uint8_t size = 0;

  bool empty() const { return size == 0; }
  bool full() const { return size == N; }
  void push(const T& item) { items[size++] = item; }
  T remove(std::size_t at) {
    const T item = items[at];
    std::move(items.begin() + static_cast<std::ptrdiff_t>(at) + 1, items.begin() + size, items.begin() + static_cast<std::ptrdiff_t>(at));
    items[--size] = T{};
    return item;
  }
  void clear() { *this = {}; }
};

struct Write {
  std::uint8_t is_promise = 0;
  std::uint8_t value = 0;
};

enum class GuestState : std::uint8_t { kNone, kRuns, kPaused };
enum class Order : std::uint8_t { kNone, kBoot, kTakeOver, kFinish, kResume };  // to the guest, not carried out yet

// What goes with the process.
struct Process {
  std::uint16_t gate_order = 0;
  std::uint16_t frames = 0;      // in the gate: a bit an epoch
  std::uint8_t incarnation = 0;  // 0: it is down
  std::uint8_t stopped = 0;
  std::uint8_t lag = 0;  // ticks since the node's latest step
  std::uint8_t owes_tick = 0;
  std::uint8_t rejoins = 0;
  std::uint8_t waits = 0;  // of the things below, which nobody waits for any more: bits of Late
  Queue<Write, 4> writes;

  GuestState guest = GuestState::kNone;
  Order order = Order::kNone;
  std::uint8_t order_term = 0;
  std::uint8_t branch = 0;
  std::uint8_t open_epoch = 0;
  std::uint8_t sent_in_epoch = 0;  // its frame of the open epoch was sent
  std::uint8_t gate_answer_due = 0;
  std::uint8_t gate_answer_epoch = 0;
  GateMode gate = GateMode::kMute;
  std::uint8_t gate_term = 0;
  std::uint8_t gate_peer = 0;

  // The session as primary.
  std::uint8_t active = 0;
  std::uint8_t up = 0;
  std::uint8_t full = 0;
  std::uint8_t overwritten = 0;
  std::uint8_t session = 0;
  std::uint8_t session_term = 0;
  std::uint8_t session_peer = 0;
  std::uint8_t base = 0;      // the first epoch comes after it
  std::uint8_t peer_has = 0;  // what the first epoch builds on
  std::uint8_t sent = 0;
  std::uint8_t acked = 0;
  std::uint8_t unanswered = 0;  // ticks

  // The session as secondary, and the image.
  std::uint8_t accepts = 0;
  std::uint8_t floor = 0;
  std::uint8_t in_session = 0;
  std::uint8_t newest = 0;
  std::uint8_t overwriting = 0;
  std::uint8_t image_whole = 0;
  Point image;
  std::uint8_t final_epoch = 0;
  std::uint8_t reserved = 0;
};
enum Late : std::uint8_t { kLateWrite = 1, kLateOrder = 2, kLateGateAnswer = 4 };

// What outlives it.
struct Stable {
  std::uint8_t term = 0;
  std::uint8_t promise = 0;
  std::uint8_t committed_term = 0;
  std::uint8_t committed_epoch = 0;
  std::uint8_t orders = 0;  // as node_book.cpp writes them
};

struct Grant {
  std::uint8_t holder = 0;  // incarnation; 0: no such term
  std::uint8_t peer = 0;    // eligible beside it
  std::uint8_t solo = 0;
};
struct Start {
  std::uint8_t by = 0;  // incarnation; 0: nobody
  Point from;
};
// What only the judge sees.
struct Ledger {
  std::array<Grant, kTerms> grants;
  std::array<Start, kTerms> starts;
  std::uint8_t top = 0;  // newest granted term
  Point seen;            // the newest output that left
  std::array<Point, 2> held;
  std::array<std::uint8_t, 2> held_by;  // incarnation
};

struct World {
  std::array<NodeRef, 2> node;
  std::uint32_t arbiter = 0;         // its WitnessPair
  std::uint32_t arbiter_before = 0;  // the one before, for planted bugs only: else 0
  std::array<Letter, kLetters> letters;
  std::array<Process, 2> process;
  std::array<Stable, 2> stable;
  std::array<std::uint8_t, 2> path;               // PathState
  std::array<Queue<Parcel, kParcels>, 2> stream;  // by sender
  Ledger ledger;
  Budget budget;
  std::uint8_t letter_count = 0;
  std::uint8_t cuts = 0;  // bits of Link
  std::uint8_t arbiter_down = 0;
  std::uint8_t time = 0;
  std::uint8_t next_incarnation = 1;
  std::uint8_t next_session = 1;
  std::uint8_t next_command = 1;
  std::array<std::uint8_t, 3> reserved;
};
enum Link : std::uint8_t { kAToB = 1, kBToA = 2, kAToArbiter = 4, kBToArbiter = 8 };

// No padding: nothing undefined gets into a digest.
static_assert(std::is_trivially_copyable_v<World> && std::has_unique_object_representations_v<World>);

// A world whose every byte is defined, padding as well.
inline World blank_world() {
  World world;
  std::memset(static_cast<void*>(&world), 0, sizeof world);
  world.next_incarnation = world.next_session = world.next_command = 1;
  return world;
}

}  // namespace understudy::explore
