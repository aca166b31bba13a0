// virtio-blk (virtio 1.2, 5.2) over a BlockBackend: read, write, flush, discard, write zeroes, get-id.
//
// The guest's own mistakes are answered at once with an error status. A failure of the host is never answered: the request stays in flight,
// is part of the saved state, and is issued again by the twin that takes over.
//
// Invariant: requests reach the backend in the order in which the driver made them available, before and after a restore.
//
// Threading: see VirtioMmio; the backend is called on the device loop, in turns.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "vmm/backend.h"
#include "vmm/devices/blk/request_table.h"
#include "vmm/devices/virtio/virtio_mmio.h"

namespace understudy {

class Blk final : public VirtioMmio {
 public:
  // The layout of version 1 holds what every version of this device needs; a driver's features say what it may ask for.
  static constexpr std::uint16_t kStateVersion = 1;

  static Result<std::unique_ptr<Blk>> create(VirtioSlot slot, std::shared_ptr<BlockBackend> backend);

  std::uint64_t capacity_bytes() const { return capacity_bytes_; }
  bool read_only() const { return read_only_; }
  // Since when the backend holds the oldest request that it did not complete; evidence of a disk's health. Any thread.
  std::optional<Instant> oldest_request() const;

  void save(schema::DeviceState::Builder out) const override;
  Result<void> check(schema::DeviceState::Reader in) const override;
  Result<void> restore(schema::DeviceState::Reader in) override;

 private:
  struct State {
    TransportState transport;
    std::vector<std::uint16_t> in_flight;
  };
  // What became of a chain: for the backend, answered with a status, or no request at all.
  enum class Parsed : std::uint8_t { kSubmit, kAnswered, kBroken };

  Blk(VirtioSlot slot, Host host, std::shared_ptr<BlockBackend> backend);
  Result<State> parse_state(schema::DeviceState::Reader in) const;

  void work(unsigned index) override;
  void on_resume() override;
  void on_quiesce() override;
  bool requests_in_flight() const override { return requests_.submitted_count() > 0; }
  void on_reset() override;
  void on_detach() override;

  void pump();
  Parsed parse_request(const Chain& chain);
  std::optional<std::uint8_t> parse_zeros(const Chain& chain, std::uint32_t type, BlkRequest& request) const;
  bool inside(std::uint64_t sector, std::uint64_t length_bytes) const;
  void answer(const Chain& chain, GuestPhysicalAddress status_address, std::uint8_t status, std::uint32_t data_bytes);
  std::uint32_t write_serial_number(std::span<const Segment> segments);
  bool submit(std::uint16_t head);
  bool submit_waiting();
  void take_again();
  void reap();
  void complete(std::uint16_t head);
  void mark_read(const BlkRequest& request);
  void note_oldest() { oldest_ns_.store(to_ns(requests_.oldest()), std::memory_order_relaxed); }

  const std::shared_ptr<BlockBackend> backend_;
  const std::uint64_t capacity_bytes_;
  const bool read_only_;
  FdWatch completions_;  // armed while running
  std::atomic<std::int64_t> oldest_ns_{0};

  // The loop's, in a turn (and the controlling thread's while quiesced).
  Chain chain_;
  RequestTable requests_;
  std::vector<std::uint16_t> restored_heads_;  // in flight in the restored state, until resume() takes them again
};

}  // namespace understudy
