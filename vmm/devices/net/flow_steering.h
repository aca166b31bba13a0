// Which queue pair a received frame goes to: the one on which its flow last sent (virtio 1.2, 5.1.6.5.6, automatic receive steering).
//
// Knowledge of this host alone, and no state: where it is missing, flows are spread. Loop-owned.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace understudy {

class FlowSteering {
 public:
  // Enough of a frame's start to know its flow: Ethernet with a VLAN tag, IPv4 with all options, ports.
  static constexpr std::size_t kHeadBytes = 82;

  // A frame that begins with `head` was sent on `pair` (below 255).
  void sent(std::span<const std::byte> head, unsigned pair);
  // Below `pairs`, which is at least 1.
  unsigned pair_for(std::span<const std::byte> head, unsigned pairs) const;
  void forget() { *this = {}; }

  // The same for both directions of a flow; what is no TCP or UDP over IP counts by its addresses, or as one.
  static std::uint32_t flow_of(std::span<const std::byte> head);

 private:
  static constexpr std::size_t kEntries = 256;
  std::array<std::uint8_t, kEntries> pair_plus_one_{};  // by flow; 0: not known
};

}  // namespace understudy
