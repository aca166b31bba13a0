// Frames as a peer of the guest makes and reads them, for tests: written apart from the guest's own stack, so that the two check each
// other.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace understudy::guest::testing {

using Frame = std::vector<unsigned char>;

// Sets the IP header checksum of a frame right again, as far as the frame has one.
void fix_ip_checksum(Frame& frame);

struct Peer {
  std::array<unsigned char, 6> own_mac;
  std::uint32_t own_ip;  // host order
  std::array<unsigned char, 6> guest_mac;
  std::uint32_t guest_ip;

  Frame arp_request() const;
  Frame echo_request(std::uint16_t id, std::uint16_t sequence, const Frame& payload) const;
  Frame udp(std::uint16_t from_port, std::uint16_t to_port, const Frame& payload) const;

  // What a frame from the guest carries; nullopt when anything about it is wrong: addresses, lengths, checksums, ports.
  bool is_arp_reply(const Frame& frame) const;
  std::optional<Frame> echo_reply_payload(const Frame& frame, std::uint16_t id, std::uint16_t sequence) const;
  std::optional<Frame> udp_payload(const Frame& frame, std::uint16_t from_port, std::uint16_t to_port) const;

 private:
  Frame ip_frame(unsigned char protocol, const Frame& payload) const;
  std::optional<Frame> ip_payload(const Frame& frame, unsigned char protocol) const;
};

}  // namespace understudy::guest::testing
