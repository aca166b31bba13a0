// virtio-net (virtio 1.2, 5.1) over a NetBackend: one receive and one transmit queue, no offloads.
//
// Threading: see VirtioMmio; the backend is called on the device loop, in turns.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "net/base/addresses.h"
#include "vmm/backend.h"
#include "vmm/devices/virtio/virtio_mmio.h"

namespace understudy {

class Net final : public VirtioMmio {
 public:
  static constexpr std::uint16_t kStateVersion = 1;
  static constexpr unsigned kReceiveQueue = 0;
  static constexpr unsigned kTransmitQueue = 1;

  static Result<std::unique_ptr<Net>> create(VirtioSlot slot, const MacAddress& mac, std::shared_ptr<NetBackend> backend);

  // Frames refused, never silently: what the guest sent against the rules (offloads it did not agree on, no or too long a frame), and what
  // came in and fits none of the buffers that the guest gave. Any thread.
  std::uint64_t refused_transmits() const { return refused_transmits_.load(std::memory_order_relaxed); }
  std::uint64_t refused_receives() const { return refused_receives_.load(std::memory_order_relaxed); }

  void save(schema::DeviceState::Builder out) const override;
  Result<void> check(schema::DeviceState::Reader in) const override;
  Result<void> restore(schema::DeviceState::Reader in) override;

 private:
  enum class Delivery : std::uint8_t { kDone, kNoBuffers, kBroken };  // kDone: delivered, or refused and counted

  Net(VirtioSlot slot, Host host, const MacAddress& mac, std::shared_ptr<NetBackend> backend);
  Result<TransportState> parse(schema::DeviceState::Reader in) const;

  void work(unsigned index) override;
  void on_resume() override;
  void on_quiesce() override;
  bool requests_in_flight() const override { return false; }
  void on_reset() override;
  void on_detach() override {}

  void pump_transmit();
  bool transmit(const Chain& chain, bool& room);
  void pump_receive();
  Delivery deliver();
  Delivery deliver_merged(std::uint16_t chains);
  Delivery broken(const char* why);
  std::uint32_t fill(const Chain& chain, std::uint64_t packet_offset, std::uint16_t chains);

  const MacAddress mac_;
  const std::shared_ptr<NetBackend> backend_;
  FdWatch room_;     // armed while running
  FdWatch arrival_;  // armed while the guest has buffers
  std::atomic<std::uint64_t> refused_transmits_{0};
  std::atomic<std::uint64_t> refused_receives_{0};

  // The loop's, in a turn.
  Chain chain_;
  bool waiting_for_room_ = false;
  const std::unique_ptr<std::byte[]> frame_;  // kMaxFrameBytes
  std::size_t frame_bytes_ = 0;               // of a frame in hand that waits for buffers; 0: none
  std::uint16_t too_few_chains_ = 0;          // that were available for it, after kNoBuffers
};

}  // namespace understudy
