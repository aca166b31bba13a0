#include "tests/lab/guest_frame.h"

#include <algorithm>
#include <cstring>

namespace understudy::lab {

namespace {

constexpr std::size_t kEthernetBytes = 14;
constexpr std::size_t kUdpBytes = 8;
constexpr std::uint16_t kEtherTypeIpv4 = 0x0800;
constexpr std::uint8_t kProtocolTcp = 6;
constexpr std::uint8_t kProtocolUdp = 17;

std::uint8_t byte_at(std::span<const std::byte> bytes, std::size_t offset) { return std::to_integer<std::uint8_t>(bytes[offset]); }
std::uint16_t word_at(std::span<const std::byte> bytes, std::size_t offset) {
  return static_cast<std::uint16_t>(byte_at(bytes, offset) << 8 | byte_at(bytes, offset + 1));
}

std::uint32_t long_at(std::span<const std::byte> bytes, std::size_t offset) {
  return std::uint32_t{word_at(bytes, offset)} << 16 | word_at(bytes, offset + 2);
}

// The payload of an unfragmented IPv4 packet of that protocol, without what pads a short frame; empty if it is none or not there whole.
std::span<const std::byte> ip_payload(std::span<const std::byte> ethernet, std::uint8_t protocol) {
  constexpr std::uint16_t kFragment = 0x3fff;  // more fragments, or an offset
  if (ethernet.size() < kEthernetBytes + 20 || word_at(ethernet, 12) != kEtherTypeIpv4) return {};
  const auto ip = ethernet.subspan(kEthernetBytes);
  const std::size_t header_bytes = std::size_t{4} * (byte_at(ip, 0) & 0xf);
  const std::size_t total_bytes = word_at(ip, 2);
  if (byte_at(ip, 9) != protocol || (word_at(ip, 6) & kFragment) != 0) return {};
  if (header_bytes < 20 || total_bytes < header_bytes || total_bytes > ip.size()) return {};
  return ip.subspan(header_bytes, total_bytes - header_bytes);
}

std::optional<guest::KvReply> parse_reply(std::span<const std::byte> ethernet) {
  const auto udp = ip_payload(ethernet, kProtocolUdp);
  if (udp.size() != kUdpBytes + sizeof(guest::KvReply)) return std::nullopt;
  if (word_at(udp, 0) != guest::kKvPort || word_at(udp, 4) != udp.size()) return std::nullopt;
  guest::KvReply reply{};
  std::memcpy(&reply, udp.data() + kUdpBytes, sizeof reply);
  if (reply.magic != guest::kKvReplyMagic) return std::nullopt;
  return reply;
}

std::optional<TcpSegment> parse_segment(std::span<const std::byte> ethernet) {
  constexpr std::uint8_t kSyn = 0x02, kReset = 0x04, kAck = 0x10;
  const auto tcp = ip_payload(ethernet, kProtocolTcp);
  if (tcp.size() < 20) return std::nullopt;
  const std::size_t header_bytes = std::size_t{4} * (byte_at(tcp, 12) >> 4);
  if (header_bytes < 20 || header_bytes > tcp.size()) return std::nullopt;
  const auto flags = byte_at(tcp, 13);
  const auto payload = tcp.subspan(header_bytes);
  return TcpSegment{.guest_port = word_at(tcp, 0),
                    .peer_port = word_at(tcp, 2),
                    .sequence = long_at(tcp, 4) + ((flags & kSyn) != 0 ? 1 : 0),
                    .acknowledged = long_at(tcp, 8),
                    .reset = (flags & kReset) != 0,
                    .acknowledges = (flags & kAck) != 0,
                    .payload = {payload.begin(), payload.end()}};
}

}  // namespace

std::optional<GuestFrame> parse_guest_frame(std::span<const std::byte> ethernet, const MacAddress& guest, NodeId host, Instant at) {
  if (ethernet.size() < kEthernetBytes) return std::nullopt;
  if (std::memcmp(ethernet.data() + 6, guest.octets.data(), guest.octets.size()) != 0) return std::nullopt;
  return GuestFrame{.at = at, .host = host, .reply = parse_reply(ethernet), .tcp = parse_segment(ethernet)};
}

}  // namespace understudy::lab
