// One node's side of the guest as the daemon builds it, with a real machine, and the orders of a node given by hand.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "failover/daemon/guest_side.h"
#include "machine_guests.h"
#include "tests/support/bounds.h"

namespace understudy::test {

// What the side reported, from its session loop, in order; each is looked at once.
class Reports {
 public:
  void add(Input input);
  // The first that is not yet looked at, of this kind and as `wanted`: it and all before it are then looked at. nullopt when none came
  // within `patience`.
  template <class Kind>
  std::optional<Kind> wait(
      const std::function<bool(const Kind&)>& wanted = [](const Kind&) { return true; }, Duration patience = kLong) {
    std::unique_lock lock{mutex_};
    std::optional<Kind> found;
    changed_.wait_for(lock, patience, [&] {
      for (; !found && seen_ < inputs_.size(); ++seen_) {
        const auto* const kind = std::get_if<Kind>(&inputs_[seen_]);
        if (kind != nullptr && wanted(*kind)) found = *kind;
      }
      return found.has_value();
    });
    return found;
  }
  std::optional<input::GuestStopped> wait_stopped(Duration patience = kLong) {
    return wait<input::GuestStopped>([](const input::GuestStopped&) { return true; }, patience);
  }
  // An epoch at whose end the guest is over, or lives.
  std::optional<input::EpochCommitted> wait_committed(bool over) {
    return wait<input::EpochCommitted>([over](const input::EpochCommitted& in) { return in.ended.empty() != over; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Input> inputs_;  // guarded by mutex_
  std::size_t seen_ = 0;       // guarded by mutex_
};

class Side {
 public:
  // `kernel` as of machine_guests.h; `link`: both sides' replication endpoint.
  static std::unique_ptr<Side> create(NodeId node, std::span<const std::byte> kernel, const RestartConfig& restart,
                                      const std::string& link);
  ~Side();

  // Runs a node's order on the session's loop, and waits until it was taken.
  template <class Order>
  void order(Order give) {
    session_thread_->loop().post_and_wait([this, give] { give(*side_); }, kLong);
  }
  Result<bool> press_power_button();
  NodeIncarnation self() const { return self_; }
  std::string guest() const { return side_->numbers().guest; }
  std::string serial() const;
  Reports reports;

 private:
  Side(NodeId node, std::span<const std::byte> kernel) : self_{node, Incarnation{node == NodeId::kA ? 101U : 202U}}, kernel_{kernel} {}
  Result<void> open(const RestartConfig& restart, const std::string& link);

  const MonotonicClock clock_;
  const NodeIncarnation self_;
  const TemporaryFile kernel_;
  DaemonConfig config_;
  Timeline timeline_{clock_};
  const std::shared_ptr<ConsoleBacklog> console_ = std::make_shared<ConsoleBacklog>();
  std::unique_ptr<LoopThread> node_thread_;
  std::unique_ptr<StoreThread> store_;
  std::unique_ptr<Egress> egress_;
  std::unique_ptr<LoopThread> session_thread_;
  std::unique_ptr<GuestSide> side_;
};

}  // namespace understudy::test
