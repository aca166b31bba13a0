// virtio-balloon (virtio 1.2, 5.5): memory that the guest gives back, by the operator's wish (inflate) or by its own (free-page reporting).
//
// A page given back is discarded (GuestMemory::discard): zeros on both hosts from then on, at no cost on the link or in memory. Every page
// comes from the guest and is checked; giving back its own kernel harms the guest alone.
//
// Invariant: no chain is held between two turns. One that takes longer than a turn is given back to the ring, and gone on with; a twin
// begins it again, which changes nothing.
//
// Threading: see VirtioMmio; set_target() and the numbers on any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "vmm/devices/virtio/virtio_mmio.h"

namespace understudy {

class Balloon final : public VirtioMmio {
 public:
  static constexpr std::uint16_t kStateVersion = 1;
  static constexpr unsigned kInflateQueue = 0;
  static constexpr unsigned kDeflateQueue = 1;
  static constexpr unsigned kReportingQueue = 2;  // the next after those that exist, as drivers count (see README)

  // `target_pages` (of 4 KiB) as set_target().
  static Result<std::unique_ptr<Balloon>> create(VirtioSlot slot, std::uint64_t target_pages);

  // How many pages the guest is asked to give back; it takes its time, and may refuse. kInvalid: as many as it has, or more.
  Result<void> set_target(std::uint64_t pages);
  std::uint32_t target_pages() const { return config_word(kTargetOffset); }
  // What the guest says it gave back by inflating.
  std::uint32_t actual_pages() const { return config_word(kActualOffset); }

  // Since the device was made: pages discarded, and pages that the guest named and does not have.
  std::uint64_t discarded_pages() const { return discarded_.load(std::memory_order_relaxed); }
  std::uint64_t refused_pages() const { return refused_.load(std::memory_order_relaxed); }

  void save(schema::DeviceState::Builder out) const override;
  Result<void> check(schema::DeviceState::Reader in) const override;
  Result<void> restore(schema::DeviceState::Reader in) override;

 private:
  // 5.5.4.
  static constexpr std::size_t kTargetOffset = 0;
  static constexpr std::size_t kActualOffset = 4;

  struct State {
    TransportState transport;
    std::uint32_t target_pages = 0;
    std::uint32_t actual_pages = 0;
  };
  // How far the chain is that the queue's next turn finds first.
  struct Progress {
    std::uint16_t head = 0;
    std::uint64_t done = 0;  // inflate: page numbers; reporting: bytes. 0: nothing was begun
  };

  Balloon(VirtioSlot slot, Host host, std::uint32_t target_pages);
  Result<State> parse(schema::DeviceState::Reader in) const;

  void work(unsigned index) override;
  void on_resume() override;
  void on_quiesce() override {}
  bool requests_in_flight() const override { return false; }
  void on_reset() override;
  void on_detach() override {}

  // Each takes from `budget` the pages that it looked at; true once the chain in hand is done.
  bool inflate(Progress& progress, std::size_t& budget);
  bool report(Progress& progress, std::size_t& budget);
  void discard(GuestPhysicalAddress start, std::uint64_t bytes);

  std::atomic<std::uint64_t> discarded_{0};
  std::atomic<std::uint64_t> refused_{0};

  // The loop's, in a turn.
  Chain chain_;
  Progress inflating_;
  Progress reporting_;
};

}  // namespace understudy
