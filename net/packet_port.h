// A place where whole Ethernet frames enter and leave the host, each with what it leaves to the other side: a tap in production, a recorder
// in tests.
//
// At most one thread sends, and at most one (possibly another) receives. Nothing blocks.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "net/base/frame_offload.h"
#include "net/base/result.h"

namespace understudy {

class PacketPort {
 public:
  virtual ~PacketPort() = default;

  // Whether the host finishes checksums and segments frames, and can leave that to the receiver. Without, every offload is all zeros. Fixed
  // for the port's life; any thread.
  virtual bool offloads() const = 0;
  // On the sending thread: what received frames may leave to the receiver from now on; nothing at first. Frames that wait already stay as
  // they are.
  virtual Result<void> set_receive_offloads(const Offloads& taken) = 0;

  // Sends one frame, without FCS. kBusy: the host's queue is full and nothing was sent; kUnavailable: the port is gone or down; kInvalid:
  // not a frame's size, or an offload that the host does not accept for it. A frame that was sent can't be recalled.
  virtual Result<void> send(const FrameOffload& offload, std::span<const std::byte> frame) = 0;
  // Copies the next waiting frame to `buffer`; nullopt when none waits. A frame longer than the buffer is dropped, counted by the port, and
  // the next is taken. kUnavailable: the port is gone.
  virtual Result<std::optional<ReceivedFrame>> receive(std::span<std::byte> buffer) = 0;
  // Readable while a frame may wait. Level-triggered; fixed for the port's life.
  virtual int fd() const = 0;
};

}  // namespace understudy
