// The egress thread: what the gate permits goes to the tap here, and the guest's address is announced.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "failover/daemon/watched_port.h"
#include "net/announce.h"
#include "net/base/event_loop.h"
#include "net/packet_port.h"
#include "replication/egress_gate.h"

namespace understudy {

class Egress {
 public:
  struct Callbacks {
    // On the egress thread: this host stood still for `length`, seen at `seen_at`; the gate holds until confirm_term().
    std::function<void(Instant seen_at, Duration length)> gap;
  };

  static Result<std::unique_ptr<Egress>> start(const Clock& clock, std::unique_ptr<PacketPort> port, GuestAddress guest,
                                               Callbacks callbacks);
  ~Egress();

  // The guest's network. Lives as long as its last owner, which must not outlive this object's port: release the machine first.
  const std::shared_ptr<EgressGate>& gate() const { return gate_; }

  // Tells the segment where the guest lives, several times. Any thread.
  void announce();
  // Drops frames for the guest that arrived before it came here. While the machine does not run. Any thread.
  void discard_waiting() { port_->discard_waiting(); }
  // Calls `sent` once, on the egress thread, when the next of the guest's frames has left. Before the gate may open. Any thread.
  void on_next_release(std::function<void()> sent) { port_->arm_first_send(std::move(sent)); }

 private:
  static constexpr Duration kTick = std::chrono::milliseconds{20};
  static constexpr Duration kBusyRetry = std::chrono::milliseconds{1};
  static constexpr Duration kReannounceAtMost = std::chrono::milliseconds{500};

  Egress(std::unique_ptr<PacketPort> port, GuestAddress guest);
  void wake();
  void pump();
  void tick();
  void recall();
  bool may_announce(unsigned rounds_sent, const EgressGateStats& gate) const;
  void announce_round(unsigned rounds_sent);

  const GuestAddress guest_;
  std::unique_ptr<WatchedPort> port_;
  std::shared_ptr<EgressGate> gate_;
  std::unique_ptr<LoopThread> thread_;
  std::atomic<bool> pump_posted_{false};
  // Egress thread:
  EventLoop::TimerId announcing_ = 0;
  Instant announced_at_{};
  bool recalling_ = false;     // another host spoke as our guest, and the answer waits until this one is sure
  Epoch committed_when_sure_;  // at the latest announcement, or when the other host was heard
};

}  // namespace understudy
