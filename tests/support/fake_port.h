// A packet port that records what was sent and offers what it is given.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <functional>
#include <optional>
#include <vector>

#include "net/packet_port.h"

namespace understudy::fake {

class FakePort final : public PacketPort {
 public:
  using Bytes = std::vector<std::byte>;

  Result<void> send(std::span<const std::byte> frame) override {
    if (on_send_) on_send_();
    if (error_) return *error_;
    if (room_ == 0) return Error{ErrorCode::kBusy, "send: the fake port is full"};
    --room_;
    sent_.emplace_back(frame.begin(), frame.end());
    return {};
  }
  Result<std::optional<std::size_t>> receive(std::span<std::byte> buffer) override {
    if (arriving_.empty()) return std::optional<std::size_t>{};
    const Bytes frame = std::move(arriving_.front());
    arriving_.pop_front();
    const std::size_t length = std::min(frame.size(), buffer.size());
    std::copy_n(frame.begin(), length, buffer.begin());
    return std::optional<std::size_t>{length};
  }
  int fd() const override { return -1; }

  const std::vector<Bytes>& sent() const { return sent_; }
  std::vector<Bytes>& sent() { return sent_; }
  void arrive(Bytes frame) { arriving_.push_back(std::move(frame)); }
  void set_room(std::size_t frames) { room_ = frames; }
  void set_error(std::optional<Error> error) { error_ = std::move(error); }
  void set_on_send(std::function<void()> on_send) { on_send_ = std::move(on_send); }

 private:
  std::vector<Bytes> sent_;
  std::deque<Bytes> arriving_;
  std::size_t room_ = ~std::size_t{0};
  std::optional<Error> error_;
  std::function<void()> on_send_;
};

}  // namespace understudy::fake
