#include "tests/guest/power.h"

#include "tests/guest/report.h"

// boot.S
extern "C" unsigned char idt[256 * 16];

namespace understudy::guest {
namespace {

// ACPI 6.4, 4.8.3: the PM1a event block's upper bytes hold the power button's bits; control takes SLP_EN with sleep type 0 as S5.
constexpr std::uint16_t kStatusUpperByte = 0x601;
constexpr std::uint16_t kEnableUpperByte = 0x603;
constexpr std::uint8_t kButton = 1;
constexpr std::uint16_t kPowerControl = 0x604;
constexpr std::uint16_t kEnterS5 = 0x2000;
constexpr std::uint32_t kSystemControlInterrupt = 9;

constexpr std::uint16_t kKeyboardController = 0x64;
constexpr std::uint8_t kPulseResetLine = 0xfe;

constinit std::uint64_t interrupts_seen = 0;

}  // namespace

void listen_to_power_button(const CpuBlock& cpu) {
  route_device_interrupt(cpu, kSystemControlInterrupt);
  out8(kEnableUpperByte, kButton);
}

bool power_button_pressed(const CpuBlock& cpu) {
  const std::uint64_t interrupts = cpu.vector_counts[VECTOR_DEVICES + kSystemControlInterrupt];
  if (interrupts == interrupts_seen) return false;
  interrupts_seen = interrupts;
  if ((in8(kStatusUpperByte) & kButton) == 0) return false;
  out8(kStatusUpperByte, kButton);  // a one clears it
  return true;
}

void end_guest(GuestEnd how) {
  report("ends itself", {{" how=", static_cast<std::uint64_t>(how)}});
  switch (how) {
    case GuestEnd::kReset:
      out8(kKeyboardController, kPulseResetLine);
      break;
    case GuestEnd::kPowerOff:
      out16(kPowerControl, kEnterS5);
      break;
    case GuestEnd::kTripleFault:
      for (volatile unsigned char& byte : idt) byte = 0;
      asm volatile("ud2");
      break;
  }
  violation("the machine let the guest go on after its end", {{" how=", static_cast<std::uint64_t>(how)}});
}

}  // namespace understudy::guest
