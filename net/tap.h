// A Linux tap interface: the host's end of the guest's network card (Documentation/networking/tuntap.rst).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "net/base/unique_fd.h"
#include "net/packet_port.h"

namespace understudy {

struct TapOptions {
  bool create_if_missing = false;  // for tests and labs; a daemon uses what its host's administrator made
  bool offloads = true;            // false: as on a kernel whose taps know none
};

// One thread sends and one receives, as with any PacketPort.
class Tap final : public PacketPort {
 public:
  static constexpr std::size_t kMaxFrameBytes = 65'550;

  // Opens an existing tap, with virtio-net headers where the kernel has them, without packet information, non-blocking. What an earlier
  // user left on is turned off. One clear error each, with the mend: no /dev/net/tun, no such interface (kUnavailable), not a tap
  // (kInvalid), in use (kFailed), no permission (kFailed), bad name (kInvalid).
  static Result<std::unique_ptr<Tap>> open(const std::string& name, TapOptions options = {});

  bool offloads() const override { return offloads_; }
  // Waits for the kernel's lock over all interfaces.
  Result<void> set_receive_offloads(const Offloads& taken) override;
  Result<void> send(const FrameOffload& offload, std::span<const std::byte> frame) override;
  Result<std::optional<ReceivedFrame>> receive(std::span<std::byte> buffer) override;
  int fd() const override { return fd_.get(); }

  const std::string& name() const { return name_; }
  std::uint64_t oversized_frames() const { return oversized_frames_; }

 private:
  Tap(std::string name, UniqueFd fd, bool offloads) : name_{std::move(name)}, fd_{std::move(fd)}, offloads_{offloads} {}
  Error io_error(const char* operation) const;

  const std::string name_;
  const UniqueFd fd_;
  const bool offloads_;
  std::uint64_t oversized_frames_ = 0;
};

}  // namespace understudy
