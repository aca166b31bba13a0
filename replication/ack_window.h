// The epochs on their way: sent, and not yet acked. An ack means that the peer holds the whole epoch and all before it.
//
// Invariants: committed() never decreases within a session; in_flight() never exceeds the limit that the sender asks full() for.
// Loop-owned: no lock, socket or clock inside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

#include "net/base/clock.h"
#include "net/base/ids.h"
#include "net/base/result.h"

namespace understudy {

struct AckWindowLimits {
  std::size_t max_in_flight = 4;  // epochs; 1 or more
  Duration ack_timeout = std::chrono::seconds{2};
};

// Who may ack.
struct AckSource {
  Term term;
  Session session;
  Incarnation peer;
  friend bool operator==(const AckSource&, const AckSource&) = default;
};

class AckWindow {
 public:
  explicit AckWindow(AckWindowLimits limits) : limits_{limits} {}

  // A new session: only acks from `source` count, and `committed` is what the peer holds already.
  void open(const AckSource& source, Epoch committed);
  // The same session in a higher term: acks of the term before don't count any more.
  void raise(Term term);

  // Epochs rise; one is sent once.
  void sent(Epoch epoch, Instant now);
  // True when committed() rose. An ack of another source, or a late one, changes nothing and is false; of an epoch that was never sent:
  // kCorrupt. Acks are cumulative.
  Result<bool> acked(const AckSource& from, Epoch epoch);

  const AckSource& source() const { return source_; }
  Epoch committed() const { return committed_; }
  std::size_t in_flight() const { return sent_.size(); }
  bool full() const { return sent_.size() >= limits_.max_in_flight; }
  // The oldest epoch in flight has waited longer than ack_timeout.
  bool overdue(Instant now) const { return !sent_.empty() && now - sent_.front().at > limits_.ack_timeout; }
  // From when on overdue() is true, if no ack comes; Instant::max() when nothing is in flight.
  Instant overdue_at() const { return sent_.empty() ? Instant::max() : sent_.front().at + limits_.ack_timeout + Duration{1}; }
  std::uint64_t stale_acks() const { return stale_acks_; }

 private:
  struct Sent {
    Epoch epoch;
    Instant at;
  };
  const AckWindowLimits limits_;
  AckSource source_;
  Epoch committed_;
  std::deque<Sent> sent_;
  std::uint64_t stale_acks_ = 0;
};

}  // namespace understudy
