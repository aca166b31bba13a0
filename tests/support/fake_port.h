// A packet port that records what was sent and offers what it is given.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "net/packet_port.h"

namespace understudy::fake {

class FakePort final : public PacketPort {
 public:
  using Bytes = std::vector<std::byte>;

  bool offloads() const override { return true; }
  Result<void> set_receive_offloads(const Offloads& taken) override {
    if (error_) return *error_;
    receive_offloads_.push_back(taken);
    return {};
  }
  Result<void> send(const FrameOffload& offload, std::span<const std::byte> frame) override {
    if (on_send_) on_send_();
    if (error_) return *error_;
    if (room_ == 0) return Error{ErrorCode::kBusy, "send: the fake port is full"};
    --room_;
    sent_.emplace_back(frame.begin(), frame.end());
    sent_offloads_.push_back(offload);
    return {};
  }
  Result<std::optional<ReceivedFrame>> receive(std::span<std::byte> buffer) override {
    if (error_) return *error_;
    if (arriving_.empty()) return std::optional<ReceivedFrame>{};
    const auto [frame, offload] = std::move(arriving_.front());
    arriving_.pop_front();
    const std::size_t length = std::min(frame.size(), buffer.size());
    std::copy_n(frame.begin(), length, buffer.begin());
    return std::optional{ReceivedFrame{length, offload}};
  }
  int fd() const override { return -1; }

  const std::vector<Bytes>& sent() const { return sent_; }
  std::vector<Bytes>& sent() { return sent_; }
  const std::vector<FrameOffload>& sent_offloads() const { return sent_offloads_; }    // of every frame ever sent
  const std::vector<Offloads>& receive_offloads() const { return receive_offloads_; }  // as set, one after another
  void arrive(Bytes frame, const FrameOffload& offload = {}) { arriving_.emplace_back(std::move(frame), offload); }
  void set_room(std::size_t frames) { room_ = frames; }
  void set_error(std::optional<Error> error) { error_ = std::move(error); }
  void set_on_send(std::function<void()> on_send) { on_send_ = std::move(on_send); }

 private:
  std::vector<Bytes> sent_;
  std::vector<FrameOffload> sent_offloads_;
  std::vector<Offloads> receive_offloads_;
  std::deque<std::pair<Bytes, FrameOffload>> arriving_;
  std::size_t room_ = ~std::size_t{0};
  std::optional<Error> error_;
  std::function<void()> on_send_;
};

}  // namespace understudy::fake
