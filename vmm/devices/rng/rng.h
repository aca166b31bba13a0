// virtio-rng (virtio 1.2, 5.4): random bytes of the host's for the guest, so many a second.
//
// Invariant: a chain is answered in the turn that took it, or given back to the available ring in that turn; none is in flight between
// turns.
//
// Threading: see VirtioMmio.
#pragma once

#include <memory>

#include "vmm/devices/rng/entropy.h"
#include "vmm/devices/virtio/virtio_mmio.h"

namespace understudy {

class Rng final : public VirtioMmio {
 public:
  static constexpr std::uint16_t kStateVersion = 1;
  // Of one request at most; a driver that wants more asks again (5.4.6: the device may use less than the whole buffer).
  static constexpr std::size_t kMaxAnswerBytes = 4096;

  // `source` is called on the device loop, in turns.
  static Result<std::unique_ptr<Rng>> create(VirtioSlot slot, EntropySource source = host_entropy, EntropyLimits limits = {});

  void save(schema::DeviceState::Builder out) const override;
  Result<void> check(schema::DeviceState::Reader in) const override;
  Result<void> restore(schema::DeviceState::Reader in) override;

 private:
  Rng(VirtioSlot slot, Host host, EntropySource source, EntropyLimits limits);
  Result<TransportState> parse(schema::DeviceState::Reader in) const;

  void work(unsigned index) override;
  void on_resume() override {}
  void on_quiesce() override;
  bool requests_in_flight() const override { return false; }
  void on_reset() override {}
  void on_detach() override {}

  std::uint32_t fill(const Chain& chain, std::size_t allowed);
  void come_back_at(Instant when);

  const EntropySource source_;

  // The loop's.
  Chain chain_;
  EntropyAllowance allowance_;
  EventLoop::TimerId timer_ = 0;  // 0: none is armed
};

}  // namespace understudy
