// What a frame leaves to whoever passes it on: a checksum to finish, a segmentation to do (virtio 1.2, 5.1.6, and the kernel's vnet
// header).
//
// Plain data from a guest or from a host's kernel; neither is trusted. Numbers are little-endian, as are all hosts of ours.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace understudy {

static_assert(std::endian::native == std::endian::little, "a frame's offload is read and written in place");

// The first fields of a virtio-net header, as they lie there. All zeros: the frame is complete as it is.
struct FrameOffload {
  // flags
  static constexpr std::uint8_t kNeedsChecksum = 1;  // the sum over the bytes from checksum_start on is to be put at checksum_offset there
  static constexpr std::uint8_t kChecksumValid = 2;  // towards the guest: the host looked at it already
  // segmentation
  static constexpr std::uint8_t kNone = 0;
  static constexpr std::uint8_t kTcpIpv4 = 1;
  static constexpr std::uint8_t kTcpIpv6 = 4;
  static constexpr std::uint8_t kEcn = 0x80;  // on top of either: the segments carry ECN's CWR bit

  std::uint8_t flags = 0;
  std::uint8_t segmentation = kNone;
  std::uint16_t header_bytes = 0;     // Ethernet to TCP; a hint
  std::uint16_t segment_bytes = 0;    // of payload in each frame on the wire
  std::uint16_t checksum_start = 0;   // from the frame's first byte
  std::uint16_t checksum_offset = 0;  // from checksum_start
  friend bool operator==(const FrameOffload&, const FrameOffload&) = default;
};
static_assert(sizeof(FrameOffload) == 10 && offsetof(FrameOffload, checksum_offset) == 8);

// What may be left to one side of a network card.
struct Offloads {
  bool checksum = false;
  bool tcp_ipv4 = false;  // segmentation, with checksum
  bool tcp_ipv6 = false;
  bool ecn = false;  // segmentation of TCP with ECN
  friend bool operator==(const Offloads&, const Offloads&) = default;
};

struct ReceivedFrame {
  std::size_t bytes = 0;
  FrameOffload offload;
  friend bool operator==(const ReceivedFrame&, const ReceivedFrame&) = default;
};

}  // namespace understudy
