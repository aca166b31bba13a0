#include "tests/guest/ip_stack.h"

#include <cstring>

namespace understudy::guest {
namespace {

constexpr std::size_t kEthernetBytes = 14;
constexpr std::size_t kArpBytes = 28;
constexpr std::size_t kIpBytes = 20;
constexpr std::size_t kUdpBytes = 8;
constexpr std::uint16_t kTypeIp = 0x0800;
constexpr std::uint16_t kTypeArp = 0x0806;
constexpr unsigned char kProtocolIcmp = 1;
constexpr unsigned char kProtocolUdp = 17;

std::uint16_t load16(InBytes bytes, std::size_t at) { return static_cast<std::uint16_t>(bytes[at] << 8 | bytes[at + 1]); }
std::uint32_t load32(InBytes bytes, std::size_t at) { return std::uint32_t{load16(bytes, at)} << 16 | load16(bytes, at + 2); }
void store16(OutBytes bytes, std::size_t at, std::uint32_t value) {
  bytes[at] = static_cast<unsigned char>(value >> 8);
  bytes[at + 1] = static_cast<unsigned char>(value);
}
void store32(OutBytes bytes, std::size_t at, std::uint32_t value) {
  store16(bytes, at, value >> 16);
  store16(bytes, at + 2, value);
}
void copy(OutBytes to, std::size_t at, InBytes from) { std::memcpy(to.data() + at, from.data(), from.size()); }

// The pseudo header's part of a UDP checksum: addresses as they stand in the IP header, protocol, length.
std::uint32_t pseudo_sum(InBytes ip_packet, std::size_t udp_bytes) {
  std::uint32_t sum = kProtocolUdp + static_cast<std::uint32_t>(udp_bytes);
  for (std::size_t at = 12; at < 20; at += 2) sum += load16(ip_packet, at);
  return sum;
}

}  // namespace

std::uint16_t internet_checksum(InBytes bytes, std::uint32_t sum) {
  std::uint64_t total = sum;
  std::size_t at = 0;
  for (; at + 1 < bytes.size(); at += 2) total += load16(bytes, at);
  if (at < bytes.size()) total += std::uint32_t{bytes[at]} << 8;
  while ((total >> 16) != 0) total = (total & 0xffff) + (total >> 16);
  return static_cast<std::uint16_t>(~total);
}

std::size_t IpStack::answer(InBytes frame, OutBytes out) const {
  if (frame.size() < kEthernetBytes || frame.size() > kMaxEthernetFrameBytes || out.size() < kMaxEthernetFrameBytes) return 0;
  constexpr MacAddress kBroadcast{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
  if (std::memcmp(frame.data(), mac_.data(), 6) != 0 && std::memcmp(frame.data(), kBroadcast.data(), 6) != 0) return 0;
  switch (load16(frame, 12)) {
    case kTypeArp:
      return answer_arp(frame, out);
    case kTypeIp:
      return answer_ip(frame, out);
    default:
      return 0;
  }
}

void IpStack::put_ethernet(InBytes request, std::uint16_t type, OutBytes out) const {
  copy(out, 0, request.subspan(6, 6));
  copy(out, 6, mac_);
  store16(out, 12, type);
}

std::size_t IpStack::answer_arp(InBytes frame, OutBytes out) const {
  if (frame.size() < kEthernetBytes + kArpBytes) return 0;
  const InBytes arp = frame.subspan(kEthernetBytes);
  constexpr unsigned char kRequest[] = {0, 1, 8, 0, 6, 4, 0, 1};  // Ethernet, IPv4, lengths, request
  if (std::memcmp(arp.data(), kRequest, sizeof kRequest) != 0 || load32(arp, 24) != ip_) return 0;
  put_ethernet(frame, kTypeArp, out);
  const OutBytes reply = out.subspan(kEthernetBytes);
  copy(reply, 0, kRequest);
  reply[7] = 2;
  copy(reply, 8, mac_);
  store32(reply, 14, ip_);
  copy(reply, 18, arp.subspan(8, 10));  // the asker's addresses
  return kEthernetBytes + kArpBytes;
}

std::size_t IpStack::answer_ip(InBytes frame, OutBytes out) const {
  const InBytes rest = frame.subspan(kEthernetBytes);
  if (rest.size() < kIpBytes || rest[0] >> 4 != 4) return 0;
  const std::size_t header = std::size_t{rest[0] & 15U} * 4;
  const std::size_t total = load16(rest, 2);
  if (header < kIpBytes || total < header || total > rest.size()) return 0;
  if (internet_checksum(rest.first(header)) != 0 || load32(rest, 16) != ip_) return 0;
  if ((load16(rest, 6) & 0x3fff) != 0) return 0;  // a fragment
  const InBytes packet = rest.first(total);
  const InBytes payload = packet.subspan(header);

  // The answer's IP header first: the UDP checksum covers its addresses.
  const OutBytes reply = out.subspan(kEthernetBytes);
  std::memset(reply.data(), 0, kIpBytes);
  reply[0] = 0x45;
  reply[6] = 0x40;  // don't fragment
  reply[8] = 64;
  reply[9] = packet[9];
  store32(reply, 12, ip_);
  copy(reply, 16, packet.subspan(12, 4));
  std::size_t size = 0;
  if (packet[9] == kProtocolIcmp) size = answer_icmp(payload, reply.subspan(kIpBytes));
  if (packet[9] == kProtocolUdp) size = answer_udp(packet, payload, reply);
  if (size == 0) return 0;
  store16(reply, 2, static_cast<std::uint32_t>(kIpBytes + size));
  store16(reply, 10, internet_checksum(reply.first(kIpBytes)));
  put_ethernet(frame, kTypeIp, out);
  return kEthernetBytes + kIpBytes + size;
}

std::size_t IpStack::answer_icmp(InBytes message, OutBytes out) const {
  if (message.size() < 8 || message[0] != 8 || message[1] != 0 || message.size() > out.size()) return 0;
  if (internet_checksum(message) != 0) return 0;
  copy(out, 0, message);
  out[0] = 0;  // echo reply
  store16(out, 2, 0);
  store16(out, 2, internet_checksum(out.first(message.size())));
  return message.size();
}

// `out` begins with the answer's IP header.
std::size_t IpStack::answer_udp(InBytes ip_packet, InBytes datagram, OutBytes out) const {
  if (service_ == nullptr || datagram.size() < kUdpBytes) return 0;
  const std::size_t length = load16(datagram, 4);
  if (length < kUdpBytes || length > datagram.size() || load16(datagram, 2) != port_) return 0;
  const InBytes whole = datagram.first(length);
  if (load16(whole, 6) != 0 && internet_checksum(whole, pseudo_sum(ip_packet, length)) != 0) return 0;
  const OutBytes udp = out.subspan(kIpBytes);
  const std::size_t payload = service_->answer(whole.subspan(kUdpBytes), udp.subspan(kUdpBytes));
  if (payload == 0 || payload > udp.size() - kUdpBytes) return 0;
  const std::size_t size = kUdpBytes + payload;
  store16(udp, 0, port_);
  store16(udp, 2, load16(whole, 0));
  store16(udp, 4, static_cast<std::uint32_t>(size));
  store16(udp, 6, 0);
  const std::uint16_t sum = internet_checksum(udp.first(size), pseudo_sum(out.first(kIpBytes), size));
  store16(udp, 6, sum == 0 ? 0xffff : sum);
  return size;
}

}  // namespace understudy::guest
