// The guest's port as the daemon watches it: when the first frame leaves after a takeover, whether somebody else speaks as our guest, and
// whether the port works: what it refuses is told in the log, once when that begins and once when it ends.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "net/base/addresses.h"
#include "net/packet_port.h"

namespace understudy {

// One thread sends, one (possibly another) receives; arm_first_send() from any.
class WatchedPort final : public PacketPort {
 public:
  // `impersonated` is called on the receiving thread for each frame from outside that carries the guest's own address as its source: an old
  // primary's last frames, which make switches send the guest's traffic the wrong way. Such a frame never reaches the guest.
  WatchedPort(std::unique_ptr<PacketPort> port, MacAddress guest, std::function<void()> impersonated)
      : port_{std::move(port)}, guest_{guest}, impersonated_{std::move(impersonated)} {}

  bool offloads() const override { return port_->offloads(); }
  Result<void> set_receive_offloads(const Offloads& taken) override;
  Result<void> send(const FrameOffload& offload, std::span<const std::byte> frame) override;
  Result<std::optional<ReceivedFrame>> receive(std::span<std::byte> buffer) override;
  int fd() const override { return port_->fd(); }

  // Drops what waits outside: on a secondary nobody reads, so what is there when the guest begins is old. Only while nobody receives.
  void discard_waiting();

  // The port itself, for frames that are not the guest's own.
  PacketPort& unwatched() { return *port_; }

  // Calls `sent` once, on the sending thread, after the next frame has left. Arm before anything can leave.
  void arm_first_send(std::function<void()> sent);

 private:
  const std::unique_ptr<PacketPort> port_;
  const MacAddress guest_;
  const std::function<void()> impersonated_;
  std::function<void()> first_sent_;  // written while armed_ is false, read while it is true
  std::atomic<bool> armed_{false};
  std::uint64_t lost_frames_ = 0;  // the sending thread's: since the port stopped taking them
  bool gone_ = false;              // the receiving thread's: nothing comes here any more
};

}  // namespace understudy
