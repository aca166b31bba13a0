#include "vmm/devices/net/offload.h"

#include <algorithm>
#include <cstring>

#include "vmm/devices/net/wire.h"

namespace understudy {
namespace {

constexpr std::size_t kEthernetBytes = 14;
constexpr std::size_t kTcpHeaderBytes = 20;
constexpr std::uint16_t kTcpChecksumOffset = 16;

Offloads offloads_of(std::uint64_t features, unsigned checksum, unsigned tso4, unsigned tso6, unsigned ecn) {
  const auto has = [features](unsigned bit) { return (features >> bit & 1) != 0; };
  Offloads offloads{.checksum = has(checksum)};
  offloads.tcp_ipv4 = offloads.checksum && has(tso4);
  offloads.tcp_ipv6 = offloads.checksum && has(tso6);
  offloads.ecn = (offloads.tcp_ipv4 || offloads.tcp_ipv6) && has(ecn);
  return offloads;
}

bool checksum_inside(const FrameOffload& offload, std::size_t frame_bytes) {
  return offload.checksum_start >= kEthernetBytes &&
         std::size_t{offload.checksum_start} + offload.checksum_offset + sizeof(std::uint16_t) <= frame_bytes;
}

// Of a frame whose checksum lies inside it.
bool segmentation_sound(const FrameOffload& offload, std::size_t frame_bytes, const Offloads& taken) {
  const auto kind = static_cast<std::uint8_t>(offload.segmentation & ~FrameOffload::kEcn);
  const bool agreed = (kind == FrameOffload::kTcpIpv4 && taken.tcp_ipv4) || (kind == FrameOffload::kTcpIpv6 && taken.tcp_ipv6);
  const bool ecn_agreed = (offload.segmentation & FrameOffload::kEcn) == 0 || taken.ecn;
  return agreed && ecn_agreed && offload.segment_bytes > 0 && offload.checksum_offset == kTcpChecksumOffset &&
         offload.checksum_start + kTcpHeaderBytes <= frame_bytes;
}

// Without VIRTIO_NET_F_GUEST_HDRLEN it is a hint, whatever it says; a kernel, either side's, refuses one beyond the frame.
std::uint16_t header_hint(const FrameOffload& given, std::size_t frame_bytes) {
  return static_cast<std::uint16_t>(std::min<std::size_t>(given.header_bytes, frame_bytes));
}

// RFC 1071. Where the sum is to go lies the pseudo header's, which counts.
void finish_checksum(MutableBytes frame, std::size_t start, std::size_t offset) {
  std::uint64_t sum = 0;
  const MutableBytes covered = frame.subspan(start);
  for (std::size_t i = 0; i < covered.size(); ++i) {
    const auto octet = std::to_integer<std::uint64_t>(covered[i]);
    sum += i % 2 == 0 ? octet << 8 : octet;
  }
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  auto result = static_cast<std::uint16_t>(~sum);
  if (result == 0) result = 0xffff;  // zero means "none" to UDP, and the same to TCP
  covered[offset] = static_cast<std::byte>(result >> 8);
  covered[offset + 1] = static_cast<std::byte>(result & 0xff);
}

}  // namespace

Offloads host_offloads(std::uint64_t features) {
  return offloads_of(features, net_wire::kFeatureChecksum, net_wire::kFeatureHostTso4, net_wire::kFeatureHostTso6,
                     net_wire::kFeatureHostEcn);
}

Offloads guest_offloads(std::uint64_t features) {
  return offloads_of(features, net_wire::kFeatureGuestChecksum, net_wire::kFeatureGuestTso4, net_wire::kFeatureGuestTso6,
                     net_wire::kFeatureGuestEcn);
}

std::optional<FrameOffload> offload_to_host(const FrameOffload& given, std::size_t frame_bytes, const Offloads& taken) {
  FrameOffload offload;
  // 5.1.6.2: a driver sets no other flag, and a device ignores those that it does not know.
  if ((given.flags & FrameOffload::kNeedsChecksum) != 0) {
    if (!taken.checksum || !checksum_inside(given, frame_bytes)) return std::nullopt;
    offload.flags = FrameOffload::kNeedsChecksum;
    offload.checksum_start = given.checksum_start;
    offload.checksum_offset = given.checksum_offset;
  }
  if (given.segmentation != FrameOffload::kNone) {
    if (offload.flags == 0 || !segmentation_sound(given, frame_bytes, taken)) return std::nullopt;
    offload.segmentation = given.segmentation;
    offload.segment_bytes = given.segment_bytes;
    offload.header_bytes = header_hint(given, frame_bytes);
  }
  return offload;
}

std::optional<FrameOffload> offload_to_guest(const FrameOffload& given, MutableBytes frame, const Offloads& taken) {
  FrameOffload offload;
  const bool unfinished = (given.flags & FrameOffload::kNeedsChecksum) != 0;
  if (unfinished && !checksum_inside(given, frame.size())) return std::nullopt;
  if (given.segmentation != FrameOffload::kNone) {
    if (!unfinished || !segmentation_sound(given, frame.size(), taken)) return std::nullopt;
    offload = given;
    offload.flags = FrameOffload::kNeedsChecksum;
    offload.header_bytes = header_hint(given, frame.size());
    return offload;
  }
  if (unfinished && taken.checksum) {
    offload.flags = FrameOffload::kNeedsChecksum;
    offload.checksum_start = given.checksum_start;
    offload.checksum_offset = given.checksum_offset;
  } else if (unfinished) {
    finish_checksum(frame, given.checksum_start, given.checksum_offset);
  } else if (taken.checksum) {
    offload.flags = given.flags & FrameOffload::kChecksumValid;
  }
  return offload;
}

}  // namespace understudy
