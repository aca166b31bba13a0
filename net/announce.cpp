#include "net/announce.h"

#include <algorithm>
#include <bit>
#include <span>

namespace understudy {

namespace {
constexpr std::size_t kMinFrameBytes = 60;  // without FCS; shorter ones are padded with zeros
constexpr MacAddress kBroadcast{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
constexpr MacAddress kAllNodesMulticast{{0x33, 0x33, 0, 0, 0, 1}};
constexpr std::array<std::uint8_t, 16> kAllNodes{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

constexpr std::uint16_t kEtherTypeArp = 0x0806;
constexpr std::uint16_t kEtherTypeRarp = 0x8035;
constexpr std::uint16_t kEtherTypeIpv6 = 0x86dd;
constexpr std::uint16_t kArpRequest = 1;
constexpr std::uint16_t kRarpRequest = 3;

// Appends in network order.
class FrameWriter {
 public:
  FrameWriter(const MacAddress& destination, const MacAddress& source, std::uint16_t ether_type) {
    frame_.reserve(128);
    bytes(destination.octets).bytes(source.octets).u16(ether_type);
  }
  FrameWriter& u8(unsigned value) {
    frame_.push_back(static_cast<std::byte>(value));
    return *this;
  }
  FrameWriter& u16(unsigned value) { return u8(value >> 8 & 0xff).u8(value & 0xff); }
  FrameWriter& bytes(std::span<const std::uint8_t> octets) {
    for (const auto octet : octets) u8(octet);
    return *this;
  }
  EthernetFrame padded() {
    frame_.resize(std::max(frame_.size(), kMinFrameBytes));
    return std::move(frame_);
  }

 private:
  EthernetFrame frame_;
};

// ARP and RARP share one layout (RFC 826): Ethernet addresses of 6 octets, IPv4 addresses of 4.
EthernetFrame arp_like(std::uint16_t ether_type, std::uint16_t operation, const MacAddress& mac, const MacAddress& target_mac,
                       const Ipv4Address& address) {
  return FrameWriter{kBroadcast, mac, ether_type}
      .u16(1)
      .u16(0x0800)
      .u8(6)
      .u8(4)
      .u16(operation)
      .bytes(mac.octets)
      .bytes(address.octets)
      .bytes(target_mac.octets)
      .bytes(address.octets)
      .padded();
}

// RFC 1071 over the pseudo header (RFC 8200, section 8.1) and the ICMPv6 message.
std::uint16_t icmpv6_checksum(std::span<const std::uint8_t> source, std::span<const std::uint8_t> destination,
                              std::span<const std::uint8_t> message) {
  std::uint32_t sum = static_cast<std::uint32_t>(message.size()) + 58;
  for (const auto part : {source, destination, message}) {
    for (std::size_t i = 0; i + 1 < part.size(); i += 2) sum += std::uint32_t{part[i]} << 8 | part[i + 1];  // each has an even size
  }
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}
}  // namespace

EthernetFrame gratuitous_arp(const MacAddress& mac, const Ipv4Address& address) {
  return arp_like(kEtherTypeArp, kArpRequest, mac, MacAddress{}, address);
}

EthernetFrame reverse_arp(const MacAddress& mac) { return arp_like(kEtherTypeRarp, kRarpRequest, mac, mac, Ipv4Address{}); }

EthernetFrame unsolicited_neighbor_advertisement(const MacAddress& mac, const Ipv6Address& address) {
  // Type 136, code 0, checksum, flags (override), target, option 2: target link-layer address (RFC 4861, section 4.4).
  std::array<std::uint8_t, 32> message{136, 0, 0, 0, 0x20};
  std::copy(address.octets.begin(), address.octets.end(), message.begin() + 8);
  message[24] = 2;
  message[25] = 1;
  std::copy(mac.octets.begin(), mac.octets.end(), message.begin() + 26);
  const auto checksum = icmpv6_checksum(address.octets, kAllNodes, message);
  message[2] = static_cast<std::uint8_t>(checksum >> 8);
  message[3] = static_cast<std::uint8_t>(checksum & 0xff);
  return FrameWriter{kAllNodesMulticast, mac, kEtherTypeIpv6}
      .u16(0x6000)
      .u16(0)
      .u16(static_cast<unsigned>(message.size()))
      .u8(58)
      .u8(255)
      .bytes(address.octets)
      .bytes(kAllNodes)
      .bytes(message)
      .padded();
}

std::vector<EthernetFrame> announcement(const GuestAddress& guest) {
  std::vector<EthernetFrame> frames{reverse_arp(guest.mac)};
  if (guest.ipv4) frames.push_back(gratuitous_arp(guest.mac, *guest.ipv4));
  if (guest.ipv6) frames.push_back(unsolicited_neighbor_advertisement(guest.mac, *guest.ipv6));
  return frames;
}

Result<void> announce(PacketPort& port, const GuestAddress& guest) {
  Result<void> first;
  for (const auto& frame : announcement(guest)) {
    if (auto sent = port.send(FrameOffload{}, frame); !sent && first)
      first = std::move(sent.error()).within("announce " + guest.mac.text());
  }
  return first;
}

std::optional<Duration> next_announcement_in(unsigned rounds_sent) {
  // Quick at first, since each lost millisecond is the client's; spread over two seconds, since a bridge port may learn late.
  using std::chrono::milliseconds;
  static constexpr std::array<milliseconds, 5> kWaits{milliseconds{20}, milliseconds{80}, milliseconds{200}, milliseconds{500},
                                                      milliseconds{1200}};
  if (rounds_sent == 0) return Duration{};
  if (rounds_sent > kWaits.size()) return std::nullopt;
  return kWaits[rounds_sent - 1];
}

}  // namespace understudy
