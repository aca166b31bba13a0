// virtio-net's layouts and bits (virtio 1.2, 5.1.3 to 5.1.6), as far as this device knows them. (linux/virtio_net.h is no C++.)
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace understudy::net_wire {

inline constexpr unsigned kFeatureMac = 5;
inline constexpr unsigned kFeatureMergeableBuffers = 15;
inline constexpr unsigned kFeatureStatus = 16;
inline constexpr std::uint16_t kStatusLinkUp = 1;

struct Config {
  std::array<std::uint8_t, 6> mac{};
  std::uint16_t status = 0;
};
static_assert(sizeof(Config) == 8 && offsetof(Config, status) == 6);

inline constexpr std::uint8_t kFlagNeedsChecksum = 1;
inline constexpr std::uint8_t kSegmentationNone = 0;

// With VERSION_1 all fields are always there.
struct Header {
  std::uint8_t flags = 0;
  std::uint8_t segmentation = kSegmentationNone;
  std::uint16_t header_length = 0;
  std::uint16_t segment_size = 0;
  std::uint16_t checksum_start = 0;
  std::uint16_t checksum_offset = 0;
  std::uint16_t buffer_count = 0;
};
static_assert(sizeof(Header) == 12 && offsetof(Header, buffer_count) == 10);

}  // namespace understudy::net_wire
