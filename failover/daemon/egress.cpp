#include "failover/daemon/egress.h"

#include <utility>

#include "net/base/log.h"

namespace understudy {

Result<std::unique_ptr<Egress>> Egress::start(const Clock& clock, std::unique_ptr<PacketPort> port, GuestAddress guest,
                                              Callbacks callbacks) {
  std::unique_ptr<Egress> egress{new Egress{std::move(port), guest}};
  US_ASSIGN(egress->gate_, EgressGate::create(*egress->port_, {}));
  egress->gate_->on_gap(std::move(callbacks.gap));
  US_ASSIGN(egress->thread_, LoopThread::start(clock, "egress"));
  egress->gate_->on_sendable([raw = egress.get()] { raw->wake(); });
  egress->thread_->loop().post([raw = egress.get()] { raw->tick(); });
  return egress;
}

Egress::Egress(std::unique_ptr<PacketPort> port, GuestAddress guest) : guest_{guest} {
  port_ = std::make_unique<WatchedPort>(std::move(port), guest.mac, [this] {
    // Another host speaks as our guest, so switches now look for it there: call the traffic back, if the guest is ours.
    thread_->loop().post([this] { recall(); });
  });
}

Egress::~Egress() {
  gate_->mute();
  // The thread is joined as the member it is: reset() would clear the pointer that its last turns still read.
}

void Egress::wake() {
  if (pump_posted_.exchange(true)) return;
  thread_->loop().post([this] { pump(); });
}

void Egress::pump() {
  pump_posted_.store(false);
  gate_->pump(thread_->loop().clock());
  if (gate_->sendable()) thread_->loop().call_at(thread_->loop().clock().now() + kBusyRetry, [this] { wake(); });
}

void Egress::tick() {
  // Also the gate's own watch over gaps: it must be pumped while nothing waits.
  gate_->pump(thread_->loop().clock());
  thread_->loop().call_at(thread_->loop().clock().now() + kTick, [this] { tick(); });
}

void Egress::announce() {
  thread_->loop().post([this] { announce_round(0); });
}

void Egress::recall() {
  const auto gate = gate_->stats();
  const bool ours = gate.mode == EgressMode::kPair || gate.mode == EgressMode::kSolo;
  if (!ours || recalling_ || thread_->loop().clock().now() - announced_at_ < kReannounceAtMost) return;
  recalling_ = true;
  committed_when_sure_ = gate.committed;
  announce_round(1);
}

// An announcement is output that no epoch holds back, so it keeps the gate's rule by itself: a host that stood still, or whose peer acks no
// more, may have been followed without knowing it, and is quiet until a round trip or the next commit says otherwise.
bool Egress::may_announce(unsigned rounds_sent, const EgressGateStats& gate) const {
  if (gate.unconfirmed) return false;
  // The first round follows the grant itself. In solo the peer cannot be granted anything.
  return gate.mode == EgressMode::kSolo || rounds_sent == 0 || gate.committed != committed_when_sure_;
}

void Egress::announce_round(unsigned rounds_sent) {
  auto& loop = thread_->loop();
  loop.cancel(announcing_);
  const Instant now = loop.clock().now();
  gate_->pump(loop.clock());  // sees the gap, if this timer is the first thing to happen after one
  const auto gate = gate_->stats();
  if (gate.mode != EgressMode::kPair && gate.mode != EgressMode::kSolo) {
    recalling_ = false;  // the guest left meanwhile
    return;
  }
  if (!may_announce(rounds_sent, gate)) {
    announcing_ = loop.call_at(now + kTick, [this, rounds_sent] { announce_round(rounds_sent); });
    return;
  }
  if (std::exchange(recalling_, false))
    log(Severity::kWarning, "another host sent a frame as this guest",
        {{"mac", guest_.mac.text()}, {"what", "announced the address again"}});
  announced_at_ = now;
  committed_when_sure_ = gate.committed;
  if (const auto sent = understudy::announce(port_->unwatched(), guest_); !sent)
    log(Severity::kWarning, "announcing the guest's address failed", {{"reason", sent.error().text()}});
  if (const auto next = next_announcement_in(rounds_sent + 1))
    announcing_ = loop.call_at(now + *next, [this, rounds_sent] { announce_round(rounds_sent + 1); });
}

}  // namespace understudy
