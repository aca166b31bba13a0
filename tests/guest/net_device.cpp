#include "tests/guest/net_device.h"

#include "tests/guest/report.h"

namespace understudy::guest {
namespace {

constexpr std::uint32_t kReceiveQueue = 0;
constexpr std::uint32_t kTransmitQueue = 1;
constexpr std::uint64_t kHasMac = 1 << 5;

}  // namespace

void NetDevice::start(VirtioMmio transport) {
  transport_ = transport;
  const std::uint64_t features = transport_.negotiate(kHasMac | VirtioMmio::kEventIndex);
  if ((features & kHasMac) == 0) refuse("the network device has no MAC address", 0);
  for (std::uint32_t i = 0; i < mac_.size(); ++i) mac_[i] = transport_.config8(i);
  const bool event_index = (features & VirtioMmio::kEventIndex) != 0;
  transport_.set_up_queue(kReceiveQueue, receive_, receive_memory_, event_index);
  transport_.set_up_queue(kTransmitQueue, transmit_, transmit_memory_, event_index);
  transport_.set_driver_ok();
  for (std::uint16_t i = 0; i < transmit_.size(); ++i) free_transmit_[free_transmit_buffers_++] = i;
  for (std::uint16_t i = 0; i < receive_.size(); ++i) add_receive_buffer(i);
  flush();
}

void NetDevice::add_receive_buffer(std::uint16_t buffer) {
  const Virtqueue::Segment segment{reinterpret_cast<std::uint64_t>(receive_buffers_[buffer].data()), kBufferBytes, true};
  const auto head = receive_.add({&segment, 1});
  if (!head) violation("no receive descriptor is free for buffer ", {{"", buffer}});
  receive_buffer_of_[*head] = buffer;
}

std::optional<InBytes> NetDevice::received() {
  const auto completed = receive_.take();
  if (receive_.broken()) violation("the receive queue's used ring names a chain that is not in flight", {});
  if (!completed) return std::nullopt;
  if (completed->length < kHeaderBytes || completed->length > kBufferBytes)
    violation("a received frame has a length that cannot be: ", {{"", completed->length}});
  received_buffer_ = receive_buffer_of_[completed->head];
  return InBytes{receive_buffers_[*received_buffer_]}.subspan(kHeaderBytes, completed->length - kHeaderBytes);
}

void NetDevice::release_received() {
  add_receive_buffer(*received_buffer_);
  received_buffer_.reset();
}

void NetDevice::reap_transmitted() {
  while (const auto completed = transmit_.take()) free_transmit_[free_transmit_buffers_++] = transmit_buffer_of_[completed->head];
  if (transmit_.broken()) violation("the transmit queue's used ring names a chain that is not in flight", {});
}

std::optional<OutBytes> NetDevice::transmit_buffer() {
  if (free_transmit_buffers_ == 0) reap_transmitted();
  if (free_transmit_buffers_ == 0) return std::nullopt;
  Buffer& buffer = transmit_buffers_[free_transmit_[free_transmit_buffers_ - 1]];
  return OutBytes{buffer}.subspan(kHeaderBytes, kMaxEthernetFrameBytes);
}

void NetDevice::send(std::size_t bytes) {
  const std::uint16_t index = free_transmit_[--free_transmit_buffers_];
  Buffer& buffer = transmit_buffers_[index];  // its header stays all zeros: no offload
  const Virtqueue::Segment segment{reinterpret_cast<std::uint64_t>(buffer.data()), static_cast<std::uint32_t>(kHeaderBytes + bytes), false};
  const auto head = transmit_.add({&segment, 1});
  if (!head) violation("no transmit descriptor is free for buffer ", {{"", index}});
  transmit_buffer_of_[*head] = index;
}

void NetDevice::flush() {
  if (receive_.publish()) transport_.notify(kReceiveQueue);
  if (transmit_.publish()) transport_.notify(kTransmitQueue);
}

bool NetDevice::ask_interrupts() {
  if (free_transmit_buffers_ > 0) return receive_.ask_interrupt();
  // Without a buffer for an answer no frame is taken, however many wait. Half of the ring at once, not an interrupt for each.
  return transmit_.ask_interrupt(static_cast<std::uint16_t>(transmit_.size() / 2));
}

}  // namespace understudy::guest
