#include "failover/daemon/egress.h"

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
    thread_->loop().post([this] {
      const auto mode = gate_->stats().mode;
      const bool ours = mode == EgressMode::kPair || mode == EgressMode::kSolo;
      if (!ours || thread_->loop().clock().now() - announced_at_ < kReannounceAtMost) return;
      log(Severity::kWarning, "another host sent a frame as this guest",
          {{"mac", guest_.mac.text()}, {"what", "announced the address again"}});
      announce_round(0);
    });
  });
}

Egress::~Egress() {
  gate_->mute();
  thread_.reset();
}

void Egress::wake() {
  if (pump_posted_.exchange(true)) return;
  thread_->loop().post([this] { pump(); });
}

void Egress::pump() {
  pump_posted_.store(false);
  gate_->pump(thread_->loop().clock().now());
  if (gate_->sendable()) thread_->loop().call_at(thread_->loop().clock().now() + kBusyRetry, [this] { wake(); });
}

void Egress::tick() {
  // Also the gate's own watch over gaps: it must be pumped while nothing waits.
  gate_->pump(thread_->loop().clock().now());
  thread_->loop().call_at(thread_->loop().clock().now() + kTick, [this] { tick(); });
}

void Egress::announce() {
  thread_->loop().post([this] { announce_round(0); });
}

void Egress::announce_round(unsigned rounds_sent) {
  auto& loop = thread_->loop();
  loop.cancel(announcing_);
  const auto mode = gate_->stats().mode;
  if (mode != EgressMode::kPair && mode != EgressMode::kSolo) return;  // the guest left meanwhile
  announced_at_ = loop.clock().now();
  if (const auto sent = understudy::announce(port_->unwatched(), guest_); !sent)
    log(Severity::kWarning, "announcing the guest's address failed", {{"reason", sent.error().text()}});
  if (const auto next = next_announcement_in(rounds_sent + 1))
    announcing_ = loop.call_at(loop.clock().now() + *next, [this, rounds_sent] { announce_round(rounds_sent + 1); });
}

}  // namespace understudy
