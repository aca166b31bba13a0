#include "vmm/devices/net/flow_steering.h"

#include <cstring>

namespace understudy {
namespace {

constexpr std::uint16_t kVlan = 0x8100;
constexpr std::uint16_t kIpv4 = 0x0800;
constexpr std::uint16_t kIpv6 = 0x86dd;
constexpr std::uint8_t kTcp = 6;
constexpr std::uint8_t kUdp = 17;

std::uint16_t word_at(std::span<const std::byte> bytes, std::size_t offset) {
  return static_cast<std::uint16_t>(std::to_integer<unsigned>(bytes[offset]) << 8 | std::to_integer<unsigned>(bytes[offset + 1]));
}

// Of addresses and ports, whose order is the direction: XOR does not see it.
std::uint32_t fold(std::span<const std::byte> bytes) {
  std::uint32_t folded = 0;
  for (std::size_t i = 0; i + sizeof folded <= bytes.size(); i += sizeof folded) {
    std::uint32_t part = 0;
    std::memcpy(&part, bytes.data() + i, sizeof part);
    folded ^= part;
  }
  return folded;
}

std::uint32_t mix(std::uint32_t value) {
  value *= 0x9E37'79B1U;  // 2^32 / golden ratio: spreads neighbours
  return value ^ value >> 15;
}

std::uint32_t ports(std::span<const std::byte> transport, std::uint8_t protocol) {
  if ((protocol != kTcp && protocol != kUdp) || transport.size() < 4) return 0;
  return static_cast<std::uint32_t>(word_at(transport, 0) ^ word_at(transport, 2)) | 0x1'0000U;
}

}  // namespace

std::uint32_t FlowSteering::flow_of(std::span<const std::byte> head) {
  std::size_t at = 12;
  if (head.size() >= at + 6 && word_at(head, at) == kVlan) at += 4;
  if (head.size() < at + 2) return 0;
  const std::uint16_t type = word_at(head, at);
  const auto ip = head.subspan(at + 2);
  if (type == kIpv4 && ip.size() >= 20) {
    const std::size_t header_bytes = std::size_t{4} * (std::to_integer<std::size_t>(ip[0]) & 0xf);
    const bool fragment = (word_at(ip, 6) & 0x3fff) != 0;
    const auto transport = header_bytes >= 20 && header_bytes <= ip.size() ? ip.subspan(header_bytes) : ip.first(0);
    return mix(fold(ip.subspan(12, 8)) ^ mix(fragment ? 0 : ports(transport, std::to_integer<std::uint8_t>(ip[9]))));
  }
  if (type == kIpv6 && ip.size() >= 40)
    return mix(fold(ip.subspan(8, 32)) ^ mix(ports(ip.subspan(40), std::to_integer<std::uint8_t>(ip[6]))));
  return 0;
}

void FlowSteering::sent(std::span<const std::byte> head, unsigned pair) {
  pair_plus_one_[flow_of(head) % kEntries] = static_cast<std::uint8_t>(pair + 1);
}

unsigned FlowSteering::pair_for(std::span<const std::byte> head, unsigned pairs) const {
  const std::uint32_t flow = flow_of(head);
  const unsigned known = pair_plus_one_[flow % kEntries];
  return (known != 0 ? known - 1 : flow) % pairs;
}

}  // namespace understudy
