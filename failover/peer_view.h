// What a node knows of the other one from its heartbeats, and how fresh that is.
//
// Messages may be lost, delayed, repeated and reordered, and the peer may have restarted meanwhile. Within an incarnation the sequence
// tells old from new. Incarnations have no order, so a new one is believed only when it echoes a heartbeat of ours that is newer than any
// echoed before: a message from a process that died long ago can't do that.
#pragma once

#include <array>
#include <cstdint>

#include "failover/node_io.h"

namespace understudy {

class PeerView {
 public:
  enum class Reception : std::uint8_t { kDropped, kAccepted, kNewIncarnation };

  // Our heartbeat `sequence` leaves now.
  void note_sent(std::uint64_t sequence, Instant now);
  Reception receive(const Heartbeat& heartbeat, NodeIncarnation self, Instant now);
  // Our own loop stood still: what it could not hear meanwhile is no silence of the peer.
  void forgive(Duration gap, Instant now);
  // Another sign of life (an epoch's bytes).
  void note_alive(Instant now) { alive_at_ = std::max(alive_at_, now); }

  // What our next heartbeat echoes: the latest that arrived, believed or not, so that a stranger can prove itself.
  struct Heard {
    Incarnation incarnation;
    std::uint64_t sequence = 0;
  };
  const Heard& heard() const { return heard_; }

  bool known() const { return known_; }
  const Heartbeat& last() const { return last_; }  // while known()
  Incarnation incarnation() const { return last_.sender.incarnation; }
  Instant alive_at() const { return alive_at_; }  // latest sign of life
  // When the newest of our heartbeats left that the peer has echoed: both directions worked since then.
  Instant contact_at() const { return contact_at_; }
  std::uint64_t echoed() const { return echoed_; }
  void note_contact(Instant now) { contact_at_ = std::max(contact_at_, now); }
  void start_watching(Instant now) { alive_at_ = contact_at_ = now; }

  // All that decides how the view goes on: see node_state.h. Of the heartbeats sent, only those above echoed() can still be dated.
  template <class Visitor>
  void visit_state(Instant now, Visitor&& visit) const {
    visit(heard_.incarnation);
    visit(heard_.sequence);
    visit(known_);
    if (known_) visit(last_);
    visit(now - alive_at_);
    visit(now - contact_at_);
    visit(echoed_);
    for (const Sent& sent : sent_) {
      if (sent.sequence <= echoed_) continue;
      visit(sent.sequence);
      visit(now - sent.at);
    }
  }

  // Every field, for archive.h.
  friend void transfer(auto& archive, PeerView& x) {
    archive(x.heard_.incarnation, x.heard_.sequence, x.known_, x.last_, x.alive_at_, x.contact_at_, x.echoed_, x.sent_);
  }

 private:
  struct Sent {
    std::uint64_t sequence = 0;
    Instant at;
    friend void transfer(auto& archive, Sent& x) { archive(x.sequence, x.at); }
  };
  Heard heard_;
  bool known_ = false;
  Heartbeat last_;
  Instant alive_at_;
  Instant contact_at_;
  std::uint64_t echoed_ = 0;
  std::array<Sent, 256> sent_{};  // by sequence, modulo
};

}  // namespace understudy
