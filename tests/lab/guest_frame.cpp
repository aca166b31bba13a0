#include "tests/lab/guest_frame.h"

#include <algorithm>
#include <cstring>

namespace understudy::lab {

namespace {

constexpr std::size_t kEthernetBytes = 14;
constexpr std::size_t kUdpBytes = 8;
constexpr std::uint16_t kEtherTypeIpv4 = 0x0800;
constexpr std::uint8_t kProtocolUdp = 17;

std::uint8_t byte_at(std::span<const std::byte> bytes, std::size_t offset) { return std::to_integer<std::uint8_t>(bytes[offset]); }
std::uint16_t word_at(std::span<const std::byte> bytes, std::size_t offset) {
  return static_cast<std::uint16_t>(byte_at(bytes, offset) << 8 | byte_at(bytes, offset + 1));
}

std::optional<guest::KvReply> parse_reply(std::span<const std::byte> ethernet) {
  if (ethernet.size() < kEthernetBytes + 20 || word_at(ethernet, 12) != kEtherTypeIpv4) return std::nullopt;
  const auto ip = ethernet.subspan(kEthernetBytes);
  const std::size_t header_bytes = std::size_t{4} * (byte_at(ip, 0) & 0xf);
  if (header_bytes < 20 || byte_at(ip, 9) != kProtocolUdp || ip.size() < header_bytes + kUdpBytes + sizeof(guest::KvReply))
    return std::nullopt;
  const auto udp = ip.subspan(header_bytes);
  if (word_at(udp, 0) != guest::kKvPort || word_at(udp, 4) != kUdpBytes + sizeof(guest::KvReply)) return std::nullopt;
  guest::KvReply reply{};
  std::memcpy(&reply, udp.data() + kUdpBytes, sizeof reply);
  if (reply.magic != guest::kKvReplyMagic) return std::nullopt;
  return reply;
}

}  // namespace

std::optional<GuestFrame> parse_guest_frame(std::span<const std::byte> ethernet, const MacAddress& guest, NodeId host, Instant at) {
  if (ethernet.size() < kEthernetBytes) return std::nullopt;
  if (std::memcmp(ethernet.data() + 6, guest.octets.data(), guest.octets.size()) != 0) return std::nullopt;
  return GuestFrame{.at = at, .host = host, .reply = parse_reply(ethernet)};
}

}  // namespace understudy::lab
