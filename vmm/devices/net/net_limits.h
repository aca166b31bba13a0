// Bounds that both directions of virtio-net share. Internal to this folder.
#pragma once

#include <cstddef>

#include "vmm/devices/net/wire.h"

namespace understudy {

inline constexpr std::size_t kNetHeaderBytes = sizeof(net_wire::Header);
inline constexpr std::size_t kMinFrameBytes = 14;
// Chains or frames in one turn, so that a busy queue does not keep the loop from its other work.
inline constexpr unsigned kChainsPerTurn = 256;

}  // namespace understudy
