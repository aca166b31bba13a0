// ARP, IPv4, ICMP echo and UDP for one address: a frame in, at most one frame out. Pure; every length that the sender claims is checked.
//
// Answers go back to the Ethernet address that asked, so nothing needs to be resolved. No fragments, no options in answers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace understudy::guest {

using InBytes = std::span<const unsigned char>;
using OutBytes = std::span<unsigned char>;
using MacAddress = std::array<unsigned char, 6>;

inline constexpr std::size_t kMaxEthernetFrameBytes = 1514;

// RFC 1071. `sum` continues an earlier part of even length.
std::uint16_t internet_checksum(InBytes bytes, std::uint32_t sum = 0);

class UdpService {
 public:
  // Answers a datagram's payload; returns the answer's size, 0 for none.
  virtual std::size_t answer(InBytes request, OutBytes answer) = 0;

 protected:
  ~UdpService() = default;
};

class IpStack {
 public:
  // `service` answers on UDP `port`; nullptr: nobody does. `ip` in host order: 10.77.0.10 is 0x0A4D000A.
  constexpr IpStack(MacAddress mac, std::uint32_t ip, std::uint16_t port, UdpService* service)
      : mac_{mac}, ip_{ip}, port_{port}, service_{service} {}

  // Writes the answer to `frame`, if there is one, into `out` (kMaxEthernetFrameBytes long) and returns its size; else 0.
  std::size_t answer(InBytes frame, OutBytes out) const;

 private:
  std::size_t answer_arp(InBytes frame, OutBytes out) const;
  std::size_t answer_ip(InBytes frame, OutBytes out) const;
  std::size_t answer_icmp(InBytes message, OutBytes out) const;
  std::size_t answer_udp(InBytes ip_packet, InBytes datagram, OutBytes out) const;
  void put_ethernet(InBytes request, std::uint16_t type, OutBytes out) const;

  MacAddress mac_;
  std::uint32_t ip_;
  std::uint16_t port_;
  UdpService* service_;
};

}  // namespace understudy::guest
