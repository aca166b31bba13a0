// What both sides of the network card agreed to leave to each other, and whether a frame keeps to it. Pure.
//
// A header from the guest goes to the host's kernel, one from the kernel to the guest; what neither may see is stopped here.
#pragma once

#include <cstdint>
#include <optional>

#include "net/base/frame_offload.h"
#include "vmm/backend.h"

namespace understudy {

// By the negotiated features (virtio 1.2, 5.1.3.1: segmentation counts only with checksum, ECN only with segmentation).
Offloads host_offloads(std::uint64_t features);   // what the guest may leave to the host
Offloads guest_offloads(std::uint64_t features);  // what the host may leave to the guest

// The offload of a frame from the guest as the host is to see it, fields without a meaning cleared. nullopt: against the rules (5.1.6.2) or
// the agreement, or it points outside the frame.
std::optional<FrameOffload> offload_to_host(const FrameOffload& given, std::size_t frame_bytes, const Offloads& taken);

// The same for a frame to the guest. A checksum that the guest does not take on is finished in the frame. nullopt: it can't be given to
// this guest, such as a frame that was not segmented while an earlier driver took that on.
std::optional<FrameOffload> offload_to_guest(const FrameOffload& given, MutableBytes frame, const Offloads& taken);

}  // namespace understudy
