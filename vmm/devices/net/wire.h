// virtio-net's layouts and bits (virtio 1.2, 5.1.3 to 5.1.6), as far as this device knows them. (linux/virtio_net.h is no C++.)
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "net/base/frame_offload.h"

namespace understudy::net_wire {

// 5.1.3
inline constexpr unsigned kFeatureChecksum = 0;
inline constexpr unsigned kFeatureGuestChecksum = 1;
inline constexpr unsigned kFeatureControlGuestOffloads = 2;
inline constexpr unsigned kFeatureMac = 5;
inline constexpr unsigned kFeatureGuestTso4 = 7;
inline constexpr unsigned kFeatureGuestTso6 = 8;
inline constexpr unsigned kFeatureGuestEcn = 9;
inline constexpr unsigned kFeatureHostTso4 = 11;
inline constexpr unsigned kFeatureHostTso6 = 12;
inline constexpr unsigned kFeatureHostEcn = 13;
inline constexpr unsigned kFeatureMergeableBuffers = 15;
inline constexpr unsigned kFeatureStatus = 16;
inline constexpr unsigned kFeatureControlQueue = 17;
inline constexpr unsigned kFeatureGuestAnnounce = 21;
inline constexpr unsigned kFeatureMultiQueue = 22;

// 5.1.4
inline constexpr std::uint16_t kStatusLinkUp = 1;
inline constexpr std::uint16_t kStatusAnnounce = 2;

struct Config {
  std::array<std::uint8_t, 6> mac{};
  std::uint16_t status = 0;
  std::uint16_t max_queue_pairs = 1;
};
static_assert(sizeof(Config) == 10 && offsetof(Config, status) == 6 && offsetof(Config, max_queue_pairs) == 8);

// 5.1.6. With VERSION_1 all fields are always there.
struct Header {
  FrameOffload offload;
  std::uint16_t buffer_count = 0;
};
static_assert(sizeof(Header) == 12 && offsetof(Header, buffer_count) == 10);

// 5.1.6.5. The driver's part of a control request begins with class and command; the device's is one byte.
enum class ControlClass : std::uint8_t { kAnnounce = 3, kMultiQueue = 4, kGuestOffloads = 5 };
inline constexpr std::uint8_t kAnnounceAck = 0;
inline constexpr std::uint8_t kSetQueuePairs = 0;
inline constexpr std::uint8_t kSetGuestOffloads = 0;
inline constexpr std::uint8_t kControlOk = 0;
inline constexpr std::uint8_t kControlError = 1;

}  // namespace understudy::net_wire
