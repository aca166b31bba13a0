// A bounded, connection-keeping message channel to one peer. ZmqLink implements it; simulations have a faulty one.
//
// Loop-owned: every call on the thread of the loop that owns the link; callbacks come on the same.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "net/base/result.h"

namespace understudy {

// Bytes with an owner: sent without a copy, and the owner released once the transport is done with them (possibly on another thread).
class Frame {
 public:
  Frame() = default;
  Frame(std::span<const std::byte> bytes, std::shared_ptr<const void> owner) : bytes_{bytes}, owner_{std::move(owner)} {}
  static Frame copy_of(std::span<const std::byte> bytes);

  std::span<const std::byte> bytes() const { return bytes_; }
  const std::shared_ptr<const void>& owner() const { return owner_; }

 private:
  std::span<const std::byte> bytes_;
  std::shared_ptr<const void> owner_;
};

// A whole message: frame 0 is the envelope (net/codec.h), the rest is its bulk payload. All frames arrive, or none.
using Message = std::vector<Frame>;

class Link {
 public:
  virtual ~Link() = default;

  // Queues a message for the peer, in order. kBusy when the bounded queue is full: nothing was queued; try again at on_writable.
  // kUnavailable while there is no connection: nothing was queued, since nothing waits for an absent peer; try again at
  // on_connection(true). Delivery is not promised: a broken connection loses what was queued, so acks are the caller's.
  virtual Result<void> send(Message message) = 0;

  // One at a time, in order. Set before the loop runs.
  virtual void on_message(std::function<void(Message)> handler) = 0;
  // After a send() that said kBusy: the queue has room again.
  virtual void on_writable(std::function<void()> handler) = 0;
  // The transport's own view of the connection: true once connected, false when it broke. A hint, never proof of a peer's state.
  virtual void on_connection(std::function<void(bool connected)> handler) = 0;
};

}  // namespace understudy
