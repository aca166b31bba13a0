// A device as the guest's firmware tables name it: what a guest cannot find by itself.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "net/base/ids.h"

namespace understudy {

struct PortRange {
  std::uint16_t start = 0;
  std::uint8_t count = 0;
};
struct MemoryRange {
  GuestPhysicalAddress start;  // below 4 GiB, and so its end
  std::uint32_t bytes = 0;
};

struct DeviceNode {
  std::string hardware_id;  // ACPI's _HID, such as "LNRO0005" or "PNP0501"
  std::optional<PortRange> ports{};
  std::optional<MemoryRange> memory{};
  std::optional<std::uint32_t> gsi{};  // edge-triggered, active high
};

}  // namespace understudy
