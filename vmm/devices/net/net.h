// virtio-net (virtio 1.2, 5.1) over a NetBackend: queue pairs, a control queue, checksum and TCP segmentation offload.
//
// Threading: see VirtioMmio; the backend is called on the device loop, in turns.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "net/base/addresses.h"
#include "vmm/backend.h"
#include "vmm/devices/net/flow_steering.h"
#include "vmm/devices/virtio/virtio_mmio.h"

namespace understudy {

class Net final : public VirtioMmio {
 public:
  static constexpr std::uint16_t kStateVersion = 2;
  static constexpr unsigned kMaxQueuePairs = 8;
  static constexpr unsigned receive_queue(unsigned pair) { return 2 * pair; }
  static constexpr unsigned transmit_queue(unsigned pair) { return 2 * pair + 1; }

  // `queue_pairs`: 1 to kMaxQueuePairs, for a machine with as many vCPUs. Offloads are offered if the backend has them.
  static Result<std::unique_ptr<Net>> create(VirtioSlot slot, const MacAddress& mac, std::shared_ptr<NetBackend> backend,
                                             unsigned queue_pairs);

  // What both nodes of a pair must have alike, besides the MAC: "", or ":4-queue-pairs", ":tap-without-offloads".
  std::string geometry() const;

  // Frames refused, never silently: what the guest sent against the rules (offloads it did not agree on, no or too long a frame), and what
  // came in and fits none of the buffers that the guest gave, or what it agreed on. Any thread.
  std::uint64_t refused_transmits() const { return refused_transmits_.load(std::memory_order_relaxed); }
  std::uint64_t refused_receives() const { return refused_receives_.load(std::memory_order_relaxed); }

  void save(schema::DeviceState::Builder out) const override;
  Result<void> check(schema::DeviceState::Reader in) const override;
  Result<void> restore(schema::DeviceState::Reader in) override;

 private:
  enum class Delivery : std::uint8_t { kDone, kNoBuffers, kBroken };  // kDone: delivered, or refused and counted
  struct State {
    TransportState transport;
    std::uint16_t queue_pairs = 1;
    bool announce_pending = false;
    std::uint64_t offloads_off = 0;
  };

  Net(VirtioSlot slot, Host host, const MacAddress& mac, std::shared_ptr<NetBackend> backend, unsigned queue_pairs, UniqueFd reset_fd);
  Result<State> parse(schema::DeviceState::Reader in) const;

  void work(unsigned index) override;
  void on_resume() override;
  void on_quiesce() override;
  bool requests_in_flight() const override { return false; }
  void on_reset() override;
  void on_detach() override;

  std::optional<unsigned> control_queue() const;
  unsigned pairs_in_use() const { return negotiated_pairs() > 1 ? queue_pairs_ : 1; }
  unsigned negotiated_pairs() const;
  Offloads receive_offloads() const;
  void show_driver();
  void on_room();

  // net_transmit.cpp
  void pump_transmit(unsigned pair);
  bool transmit(const Chain& chain, unsigned pair, bool& room);

  // net_receive.cpp
  void pump_receive();
  bool take_frame();
  bool any_buffer();
  bool ask_for_buffers();
  Delivery deliver();
  Delivery deliver_to(unsigned pair);
  Delivery deliver_merged(Virtqueue& ring, std::uint16_t chains);
  Delivery broken(const char* why);
  std::uint32_t fill(const Chain& chain, std::uint64_t packet_offset, std::uint16_t chains);

  // net_control.cpp
  void pump_control();
  void answer(const Chain& chain);
  bool carry_out(ConstBytes request);
  bool set_guest_offloads(std::uint64_t wanted);

  const MacAddress mac_;
  const std::shared_ptr<NetBackend> backend_;
  const unsigned max_pairs_;
  const UniqueFd reset_fd_;
  FdWatch room_;     // armed while running
  FdWatch arrival_;  // armed while the guest has buffers
  FdWatch reset_;    // armed while running: the driver is gone, which was told on a vCPU's thread
  std::atomic<std::uint64_t> refused_transmits_{0};
  std::atomic<std::uint64_t> refused_receives_{0};

  // What the driver said on the control queue. In a turn, or while none runs.
  std::uint16_t queue_pairs_ = 1;
  bool announce_pending_ = false;
  std::uint64_t offloads_off_ = 0;

  // The loop's, in a turn.
  Chain chain_;
  bool waiting_for_room_ = false;
  unsigned first_pair_ = 0;  // to send once there is room
  FlowSteering steering_;
  const std::unique_ptr<std::byte[]> frame_;  // kMaxFrameBytes
  std::size_t frame_bytes_ = 0;               // of a frame in hand that waits for buffers; 0: none
  FrameOffload frame_offload_;
  std::array<std::uint16_t, kMaxQueuePairs> too_few_chains_{};  // that were available for it, after kNoBuffers
  bool backend_gone_ = false;                                   // nothing comes from there any more
  std::uint16_t shown_status_;
  std::optional<Offloads> passed_offloads_;  // to the backend
  // The loop's, or the controlling thread's while quiesced.
  bool arrived_ = false;  // restored, and not yet resumed: the guest is on a new host
};

}  // namespace understudy
