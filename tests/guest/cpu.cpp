#include "tests/guest/cpu.h"

extern "C" unsigned char kernel_stacks[];

namespace understudy::guest {
namespace {

constexpr std::uint64_t kLocalApic = 0xfee0'0000;
constexpr std::uint64_t kIoApic = 0xfec0'0000;
constexpr std::uint32_t kMasked = 1U << 16;

}  // namespace

CpuBlock& cpu_block(std::uint32_t index) { return *reinterpret_cast<CpuBlock*>(kernel_stacks + std::size_t{index} * KERNEL_STACK_BYTES); }

void enable_local_apic(CpuBlock& cpu) {
  cpu.apic_id = mmio_read(kLocalApic + 0x20) >> 24;
  mmio_write(kLocalApic + 0x80, 0);                        // task priority: take everything
  mmio_write(kLocalApic + 0x350, kMasked);                 // LINT0
  mmio_write(kLocalApic + 0x360, kMasked);                 // LINT1
  mmio_write(kLocalApic + 0xf0, 0x100 | VECTOR_SPURIOUS);  // on
  mmio_write(kLocalApic + 0x3e0, 0xb);                     // timer: divide by 1
  mmio_write(kLocalApic + 0x320, VECTOR_TIMER);            // one-shot
}

std::uint64_t measure_tsc_khz() {
  constexpr std::uint32_t kTicks = 10'000'000;  // 10 ms at 1 GHz
  mmio_write(kLocalApic + 0x320, VECTOR_TIMER | kMasked);
  mmio_write(kLocalApic + 0x380, 0xffff'ffff);
  const std::uint32_t first = mmio_read(kLocalApic + 0x390);
  const std::uint64_t start = read_tsc();
  std::uint32_t passed = 0;
  do {
    relax();
    passed = first - mmio_read(kLocalApic + 0x390);
  } while (passed < kTicks);
  const std::uint64_t cycles = read_tsc() - start;
  mmio_write(kLocalApic + 0x380, 0);
  mmio_write(kLocalApic + 0x320, VECTOR_TIMER);
  return cycles * 1'000'000 / passed;
}

void arm_timer(std::uint64_t nanoseconds) {
  constexpr std::uint64_t kMax = 4'000'000'000;
  mmio_write(kLocalApic + 0x380, static_cast<std::uint32_t>(nanoseconds == 0 ? 1 : nanoseconds < kMax ? nanoseconds : kMax));
}

void route_device_interrupt(const CpuBlock& cpu, std::uint32_t gsi) {
  const auto write = [](std::uint32_t index, std::uint32_t value) {
    mmio_write(kIoApic, index);
    mmio_write(kIoApic + 0x10, value);
  };
  write(0x11 + 2 * gsi, cpu.apic_id << 24);
  write(0x10 + 2 * gsi, VECTOR_DEVICES + gsi);  // fixed, physical, active high, edge
}

void mask_legacy_interrupts() {
  out8(0x21, 0xff);
  out8(0xa1, 0xff);
}

}  // namespace understudy::guest
