// Two link ends joined in memory: what one sends, the other receives, when the test says so; with loss, limits and breaks by script.
//
// One thread. Nothing arrives by itself: deliver() moves messages, so a test owns every interleaving.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <functional>
#include <utility>
#include <vector>

#include "net/link.h"

namespace understudy::fake {

class FakeLink final : public Link {
 public:
  Result<void> send(Message message) override {
    ++attempts_;
    if (cut_) return Error{ErrorCode::kUnavailable, "send: the fake link is cut"};
    if (queue_.size() >= limit_) {
      ++refused_;
      wants_room_ = true;
      return Error{ErrorCode::kBusy, "send: the fake link's queue is full"};
    }
    ++sent_;
    if (tamper_ && !tamper_(message)) return {};  // lost
    queue_.push_back(std::move(message));
    most_queued_ = std::max(most_queued_, queue_.size());
    return {};
  }
  void on_message(std::function<void(Message)> handler) override { on_message_ = std::move(handler); }
  void on_writable(std::function<void()> handler) override { on_writable_ = std::move(handler); }
  void on_connection(std::function<void(bool)> handler) override { on_connection_ = std::move(handler); }

  // Hands the oldest sent message to the other end; false when there is none.
  bool deliver_one() {
    if (queue_.empty() || peer_ == nullptr) return false;
    Message message = std::move(queue_.front());
    queue_.pop_front();
    // The receiver has its own copy, as with any transport: the sender's buffers come back now.
    for (Frame& frame : message) frame = Frame::copy_of(frame.bytes());
    if (peer_->on_message_) peer_->on_message_(std::move(message));
    if (std::exchange(wants_room_, false) && on_writable_) on_writable_();
    return true;
  }

  // What is sent and not yet delivered: to look at, reorder, duplicate or damage.
  std::deque<Message>& queue() { return queue_; }
  void set_limit(std::size_t messages) { limit_ = messages; }
  // Called with each message as it is sent: may change it; false loses it.
  void set_tamper(std::function<bool(Message&)> tamper) { tamper_ = std::move(tamper); }
  // Breaks or mends this direction; a break loses what is queued. Tells this end's owner.
  void set_cut(bool cut) {
    if (cut_ == cut) return;
    cut_ = cut;
    if (cut) queue_.clear();
    if (on_connection_) on_connection_(!cut);
  }
  std::size_t sent() const { return sent_; }
  std::size_t refused() const { return refused_; }
  std::size_t attempts() const { return attempts_; }
  std::size_t most_queued() const { return most_queued_; }

 private:
  friend struct FakeLinkPair;
  FakeLink* peer_ = nullptr;
  std::deque<Message> queue_;
  std::size_t limit_ = 64;
  bool cut_ = false;
  bool wants_room_ = false;
  std::size_t sent_ = 0;
  std::size_t refused_ = 0;
  std::size_t attempts_ = 0;
  std::size_t most_queued_ = 0;
  std::function<bool(Message&)> tamper_;
  std::function<void(Message)> on_message_;
  std::function<void()> on_writable_;
  std::function<void(bool)> on_connection_;
};

struct FakeLinkPair {
  FakeLink a;
  FakeLink b;

  FakeLinkPair() {
    a.peer_ = &b;
    b.peer_ = &a;
  }
  FakeLinkPair(const FakeLinkPair&) = delete;
  FakeLinkPair& operator=(const FakeLinkPair&) = delete;

  // Delivers in both directions until nothing moves, at most `most` messages; returns how many.
  std::size_t deliver(std::size_t most = 1'000'000) {
    std::size_t moved = 0;
    while (moved < most) {
      const bool from_a = a.deliver_one();
      const bool from_b = b.deliver_one();
      if (!from_a && !from_b) break;
      moved += static_cast<std::size_t>(from_a) + static_cast<std::size_t>(from_b);
    }
    return moved;
  }
  void cut(bool broken) {
    a.set_cut(broken);
    b.set_cut(broken);
  }
};

}  // namespace understudy::fake
