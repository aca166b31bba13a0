#include "vmm/machine_event.h"

namespace understudy {
namespace {

constexpr std::uint16_t kKeyboardControllerPort = 0x64;
constexpr std::uint8_t kPulseResetLine = 0xFE;
constexpr std::uint16_t kResetControlPort = 0xCF9;
constexpr std::uint8_t kResetCpu = 0x04;
constexpr std::uint16_t kPowerPort = 0x604;
// PM1 control (ACPI 6.4, 4.8.3.2.1): SLP_EN with sleep type 0, which is S5 here; other bits may be as they are.
constexpr std::uint16_t kSleepMask = 0x3C00;
constexpr std::uint16_t kSleepEnable = 0x2000;

}  // namespace

const char* name_of(MachineEventKind kind) {
  switch (kind) {
    case MachineEventKind::kPowerOff:
      return "power-off";
    case MachineEventKind::kReset:
      return "reset";
    case MachineEventKind::kTripleFault:
      return "triple fault";
    case MachineEventKind::kPanic:
      return "panic";
    case MachineEventKind::kInternalError:
      return "internal error";
  }
  return "unknown";
}

std::optional<MachineEventKind> control_request(std::uint16_t port, ConstBytes bytes) {
  if (bytes.empty()) return std::nullopt;
  const auto low = std::to_integer<std::uint8_t>(bytes[0]);
  if (port == kKeyboardControllerPort && low == kPulseResetLine) return MachineEventKind::kReset;
  if (port == kResetControlPort && (low & kResetCpu) != 0) return MachineEventKind::kReset;
  if (port == kPowerPort && bytes.size() == 2 && ((low | std::to_integer<unsigned>(bytes[1]) << 8) & kSleepMask) == kSleepEnable)
    return MachineEventKind::kPowerOff;
  return std::nullopt;
}

}  // namespace understudy
