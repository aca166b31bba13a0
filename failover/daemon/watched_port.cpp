#include "failover/daemon/watched_port.h"

#include <array>
#include <cstring>

#include "net/base/log.h"

namespace understudy {

namespace {
// Ethernet II: destination, source, type. IEEE 802.3, 3.2.
constexpr std::size_t kSourceOffset = 6;
constexpr std::size_t kSourceEnd = 12;
}  // namespace

void WatchedPort::arm_first_send(std::function<void()> sent) {
  if (armed_.load(std::memory_order_acquire)) return;
  first_sent_ = std::move(sent);
  armed_.store(true, std::memory_order_release);
}

void WatchedPort::discard_waiting() {
  std::array<std::byte, 2048> buffer;  // a longer frame is dropped by the port itself
  // Bounded, should frames arrive as quickly as they are dropped.
  for (int i = 0; i < 10'000; ++i) {
    const auto received = port_->receive(buffer);
    if (!received || !*received) return;
  }
}

Result<void> WatchedPort::set_receive_offloads(const Offloads& taken) {
  auto set = port_->set_receive_offloads(taken);
  if (!set) log(Severity::kWarning, "the guest's offloads are not set: it receives plain frames", {{"reason", set.error().text()}});
  return set;
}

Result<void> WatchedPort::send(const FrameOffload& offload, std::span<const std::byte> frame) {
  auto sent = port_->send(offload, frame);
  if (sent) {
    if (const auto lost = std::exchange(lost_frames_, 0); lost > 0)
      log(Severity::kWarning, "the guest's frames leave the host again", {{"lost_frames", lost}});
  } else if (sent.error().code() == ErrorCode::kUnavailable && ++lost_frames_ == 1) {
    log(Severity::kError, "the guest's frames can't leave the host", {{"reason", sent.error().text()}});
  }
  if (sent && armed_.load(std::memory_order_acquire)) [[unlikely]] {
    first_sent_();
    armed_.store(false, std::memory_order_release);
  }
  return sent;
}

Result<std::optional<ReceivedFrame>> WatchedPort::receive(std::span<std::byte> buffer) {
  while (true) {
    auto received = port_->receive(buffer);
    if (!received && received.error().code() == ErrorCode::kUnavailable && !std::exchange(gone_, true))
      log(Severity::kError, "no frame reaches the guest any more: restart this daemon once the interface is back",
          {{"reason", received.error().text()}});
    if (!received || !*received || (*received)->bytes < kSourceEnd) return received;
    if (std::memcmp(buffer.data() + kSourceOffset, guest_.octets.data(), guest_.octets.size()) != 0) return received;
    impersonated_();
  }
}

}  // namespace understudy
