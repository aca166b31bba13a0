#include "tests/guest/host_frames.h"

#include <algorithm>

namespace understudy::guest::testing {
namespace {

constexpr unsigned char kIcmp = 1;
constexpr unsigned char kUdp = 17;

void put16(Frame& out, std::uint32_t value) {
  out.push_back(static_cast<unsigned char>(value >> 8));
  out.push_back(static_cast<unsigned char>(value));
}
void put32(Frame& out, std::uint32_t value) {
  put16(out, value >> 16);
  put16(out, value);
}
template <class Bytes>
void put(Frame& out, const Bytes& bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}
std::uint32_t get16(const Frame& in, std::size_t at) { return static_cast<std::uint32_t>(in.at(at) << 8 | in.at(at + 1)); }
std::uint32_t get32(const Frame& in, std::size_t at) { return get16(in, at) << 16 | get16(in, at + 2); }

// The one's complement sum, byte by byte.
std::uint32_t sum_of(const Frame& bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    sum += i % 2 == 0 ? std::uint32_t{bytes[i]} << 8 : std::uint32_t{bytes[i]};
    if (sum > 0xffff) sum -= 0xffff;
  }
  return sum;
}
void set16(Frame& frame, std::size_t at, std::uint32_t value) {
  frame.at(at) = static_cast<unsigned char>(value >> 8);
  frame.at(at + 1) = static_cast<unsigned char>(value);
}

Frame pseudo_header(std::uint32_t from, std::uint32_t to, std::size_t udp_bytes) {
  Frame out;
  put32(out, from);
  put32(out, to);
  put16(out, kUdp);
  put16(out, static_cast<std::uint32_t>(udp_bytes));
  return out;
}

}  // namespace

void fix_ip_checksum(Frame& frame) {
  if (frame.size() < 34) return;
  const std::size_t header = std::min<std::size_t>((frame[14] & 15U) * 4U, frame.size() - 14);
  if (header < 12) return;
  set16(frame, 24, 0);
  set16(frame, 24, 0xffff - sum_of(Frame(frame.begin() + 14, frame.begin() + 14 + static_cast<long>(header))));
}

Frame Peer::arp_request() const {
  Frame out(6, 0xff);
  put(out, own_mac);
  put16(out, 0x0806);
  put(out, Frame{0, 1, 8, 0, 6, 4, 0, 1});
  put(out, own_mac);
  put32(out, own_ip);
  put(out, Frame(6, 0));
  put32(out, guest_ip);
  return out;
}

bool Peer::is_arp_reply(const Frame& frame) const {
  Frame expected;
  put(expected, own_mac);
  put(expected, guest_mac);
  put16(expected, 0x0806);
  put(expected, Frame{0, 1, 8, 0, 6, 4, 0, 2});
  put(expected, guest_mac);
  put32(expected, guest_ip);
  put(expected, own_mac);
  put32(expected, own_ip);
  return frame == expected;
}

Frame Peer::ip_frame(unsigned char protocol, const Frame& payload) const {
  Frame out;
  put(out, guest_mac);
  put(out, own_mac);
  put16(out, 0x0800);
  put(out, Frame{0x45, 0});
  put16(out, static_cast<std::uint32_t>(20 + payload.size()));
  put(out, Frame{0, 0, 0, 0, 64, protocol, 0, 0});
  put32(out, own_ip);
  put32(out, guest_ip);
  put(out, payload);
  fix_ip_checksum(out);
  return out;
}

std::optional<Frame> Peer::ip_payload(const Frame& frame, unsigned char protocol) const {
  if (frame.size() < 34 || !std::equal(own_mac.begin(), own_mac.end(), frame.begin()) ||
      !std::equal(guest_mac.begin(), guest_mac.end(), frame.begin() + 6) || get16(frame, 12) != 0x0800 || frame[14] != 0x45)
    return std::nullopt;
  const std::size_t total = get16(frame, 16);
  if (total < 20 || total + 14 != frame.size() || frame[23] != protocol || get32(frame, 26) != guest_ip || get32(frame, 30) != own_ip)
    return std::nullopt;
  if (sum_of(Frame(frame.begin() + 14, frame.begin() + 34)) != 0xffff) return std::nullopt;
  return Frame(frame.begin() + 34, frame.end());
}

Frame Peer::echo_request(std::uint16_t id, std::uint16_t sequence, const Frame& payload) const {
  Frame message{8, 0, 0, 0};
  put16(message, id);
  put16(message, sequence);
  put(message, payload);
  set16(message, 2, 0xffff - sum_of(message));
  return ip_frame(kIcmp, message);
}

std::optional<Frame> Peer::echo_reply_payload(const Frame& frame, std::uint16_t id, std::uint16_t sequence) const {
  const auto message = ip_payload(frame, kIcmp);
  if (!message || message->size() < 8 || get16(*message, 0) != 0 || get16(*message, 4) != id || get16(*message, 6) != sequence ||
      sum_of(*message) != 0xffff)
    return std::nullopt;
  return Frame(message->begin() + 8, message->end());
}

Frame Peer::udp(std::uint16_t from_port, std::uint16_t to_port, const Frame& payload) const {
  Frame datagram;
  put16(datagram, from_port);
  put16(datagram, to_port);
  put16(datagram, static_cast<std::uint32_t>(8 + payload.size()));
  put16(datagram, 0);
  put(datagram, payload);
  Frame summed = pseudo_header(own_ip, guest_ip, datagram.size());
  put(summed, datagram);
  const std::uint32_t checksum = 0xffff - sum_of(summed);
  set16(datagram, 6, checksum == 0 ? 0xffff : checksum);
  return ip_frame(kUdp, datagram);
}

std::optional<Frame> Peer::udp_payload(const Frame& frame, std::uint16_t from_port, std::uint16_t to_port) const {
  const auto datagram = ip_payload(frame, kUdp);
  if (!datagram || datagram->size() < 8 || get16(*datagram, 0) != from_port || get16(*datagram, 2) != to_port ||
      get16(*datagram, 4) != datagram->size() || get16(*datagram, 6) == 0)
    return std::nullopt;
  Frame summed = pseudo_header(guest_ip, own_ip, datagram->size());
  put(summed, *datagram);
  if (sum_of(summed) != 0xffff) return std::nullopt;
  return Frame(datagram->begin() + 8, datagram->end());
}

}  // namespace understudy::guest::testing
