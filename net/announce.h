// Frames that tell a network segment where a guest's address now lives, sent after a takeover: switches learn the port from the source
// address, neighbours refresh their caches.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "net/base/addresses.h"
#include "net/base/clock.h"
#include "net/packet_port.h"

namespace understudy {

struct Ipv6Address {
  std::array<std::uint8_t, 16> octets{};  // network order
  friend auto operator<=>(const Ipv6Address&, const Ipv6Address&) = default;
};

struct GuestAddress {
  MacAddress mac;
  std::optional<Ipv4Address> ipv4;
  std::optional<Ipv6Address> ipv6;
};

using EthernetFrame = std::vector<std::byte>;

// A broadcast ARP request in which sender and target are the guest itself (RFC 5227, section 3: an ARP announcement).
EthernetFrame gratuitous_arp(const MacAddress& mac, const Ipv4Address& address);
// An unsolicited neighbour advertisement to all nodes, with the override flag (RFC 4861, section 7.2.6).
EthernetFrame unsolicited_neighbor_advertisement(const MacAddress& mac, const Ipv6Address& address);
// A broadcast RARP request for the guest's own address (RFC 903): moves the switches' port tables where the guest's IP is unknown.
EthernetFrame reverse_arp(const MacAddress& mac);

// All frames to send for this guest: always RARP, then one for each known address.
std::vector<EthernetFrame> announcement(const GuestAddress& guest);

// Sends them all, and goes on after a failure; the first error, if any. Non-blocking.
Result<void> announce(PacketPort& port, const GuestAddress& guest);

// When to send the announcement's next round after `rounds_sent`, counted from the round before; nullopt when enough were sent. A single
// frame may be lost, or sent while a bridge port still learns.
std::optional<Duration> next_announcement_in(unsigned rounds_sent);

}  // namespace understudy
