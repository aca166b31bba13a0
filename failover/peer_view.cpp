#include "failover/peer_view.h"

#include <algorithm>

namespace understudy {

void PeerView::note_sent(std::uint64_t sequence, Instant now) { sent_[sequence % sent_.size()] = {sequence, now}; }

PeerView::Reception PeerView::receive(const Heartbeat& heartbeat, NodeIncarnation self, Instant now) {
  if (heartbeat.sender.node != peer_of(self.node) || heartbeat.sender.incarnation == Incarnation{}) return Reception::kDropped;
  if (heard_.incarnation != heartbeat.sender.incarnation || heard_.sequence < heartbeat.sequence)
    heard_ = {heartbeat.sender.incarnation, heartbeat.sequence};
  const std::uint64_t echo = heartbeat.echo_incarnation == self.incarnation ? heartbeat.echo_sequence : 0;
  const bool is_new = !known_ || heartbeat.sender.incarnation != last_.sender.incarnation;
  if (is_new ? echo <= echoed_ : heartbeat.sequence <= last_.sequence) return Reception::kDropped;
  known_ = true;
  last_ = heartbeat;
  alive_at_ = std::max(alive_at_, now);
  if (echo > echoed_) {
    echoed_ = echo;
    // An echo older than the ring can't be dated; it proves a contact too long ago to matter.
    if (const Sent& sent = sent_[echo % sent_.size()]; sent.sequence == echo) contact_at_ = std::max(contact_at_, sent.at);
  }
  return is_new ? Reception::kNewIncarnation : Reception::kAccepted;
}

void PeerView::forgive(Duration gap, Instant now) {
  alive_at_ = std::min(alive_at_ + gap, now);
  contact_at_ = std::min(contact_at_ + gap, now);
}

}  // namespace understudy
