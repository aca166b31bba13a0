#include "failover/daemon/watched_port.h"

#include <array>
#include <cstring>

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

Result<void> WatchedPort::send(std::span<const std::byte> frame) {
  auto sent = port_->send(frame);
  if (sent && armed_.load(std::memory_order_acquire)) [[unlikely]] {
    first_sent_();
    armed_.store(false, std::memory_order_release);
  }
  return sent;
}

Result<std::optional<std::size_t>> WatchedPort::receive(std::span<std::byte> buffer) {
  while (true) {
    auto received = port_->receive(buffer);
    if (!received || !*received || **received < kSourceEnd) return received;
    if (std::memcmp(buffer.data() + kSourceOffset, guest_.octets.data(), guest_.octets.size()) != 0) return received;
    impersonated_();
  }
}

}  // namespace understudy
