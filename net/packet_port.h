// A place where whole Ethernet frames enter and leave the host: a tap in production, a recorder in tests.
//
// At most one thread sends, and at most one (possibly another) receives. Nothing blocks.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "net/base/result.h"

namespace understudy {

class PacketPort {
 public:
  virtual ~PacketPort() = default;

  // Sends one frame, without FCS. kBusy: the host's queue is full and nothing was sent; kUnavailable: the port is gone or down; kInvalid:
  // not a frame's size. A frame that was sent can't be recalled.
  virtual Result<void> send(std::span<const std::byte> frame) = 0;
  // Copies the next waiting frame to `buffer` and returns its size; nullopt when none waits. A frame longer than the buffer is dropped,
  // counted by the port, and the next is taken. kUnavailable: the port is gone.
  virtual Result<std::optional<std::size_t>> receive(std::span<std::byte> buffer) = 0;
  // Readable while a frame may wait. Level-triggered; fixed for the port's life.
  virtual int fd() const = 0;
};

}  // namespace understudy
