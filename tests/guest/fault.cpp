// An exception nobody expected, said on serial. Runs in ring 0, built with general registers only.
#include "tests/guest/published.h"

namespace {

constexpr std::uint16_t kSerial = 0x3f8;

void out8(std::uint16_t port, std::uint8_t value) { asm volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }

void put(const char* text) {
  for (; *text != 0; ++text) out8(kSerial, static_cast<std::uint8_t>(*text));
}
void put_hex(std::uint64_t value) {
  put("0x");
  int shift = 60;
  while (shift > 0 && (value >> shift) == 0) shift -= 4;
  for (; shift >= 0; shift -= 4) out8(kSerial, static_cast<std::uint8_t>("0123456789abcdef"[(value >> shift) & 15]));
}

struct FaultFrame {
  std::uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

}  // namespace

extern "C" void guest_report_fault(const FaultFrame* frame, std::uint64_t cr2) {
  using namespace understudy::guest;
  auto* const page = reinterpret_cast<volatile Published*>(kPublishedAddress);
  page->state = static_cast<std::uint32_t>(GuestState::kFault);
  put("\nguest: EXCEPTION vector=");
  put_hex(frame->vector);
  put(" rip=");
  put_hex(frame->rip);
  put(" error=");
  put_hex(frame->error);
  put(" cs=");
  put_hex(frame->cs);
  put(" rflags=");
  put_hex(frame->rflags);
  put(" rsp=");
  put_hex(frame->rsp);
  put(" cr2=");
  put_hex(cr2);
  put("\n");
  out8(kStopPort, static_cast<std::uint8_t>(GuestState::kFault));
}
