// Starting the other vCPUs: INIT, SIPI, one at a time.
#include <cstring>

#include "tests/guest/cpu.h"
#include "tests/guest/mp_table.h"
#include "tests/guest/report.h"

extern "C" {
extern const unsigned char trampoline_begin[];
extern const unsigned char trampoline_end[];
volatile std::uint32_t smp_starting_index = 0;
}

namespace understudy::guest {
namespace {

constexpr std::uint64_t kInterruptCommandLow = 0xfee0'0300;
constexpr std::uint64_t kInterruptCommandHigh = 0xfee0'0310;

void send_command(std::uint32_t apic_id, std::uint32_t command) {
  mmio_write(kInterruptCommandHigh, apic_id << 24);
  mmio_write(kInterruptCommandLow, command);
}

void spin(std::uint64_t cycles) {
  const std::uint64_t start = read_tsc();
  while (read_tsc() - start < cycles) relax();
}

}  // namespace

void wake_cpu(const CpuBlock& cpu) { send_command(cpu.apic_id, VECTOR_WAKE | 0x4000); }

std::uint32_t start_other_cpus(std::uint64_t tsc_khz) {
  // Address 0 is memory like any other here; the compiler must not reason about it.
  const unsigned char* memory = nullptr;
  asm volatile("" : "+r"(memory));
  const MpProcessors processors = find_processors({memory, 0x100000});
  const std::uint32_t own_id = cpu_block(0).apic_id;
  auto* const trampoline = reinterpret_cast<unsigned char*>(std::uint64_t{GUEST_TRAMPOLINE});
  std::memcpy(trampoline, trampoline_begin, static_cast<std::size_t>(trampoline_end - trampoline_begin));

  std::uint32_t running = 1;
  for (std::uint32_t i = 0; i < processors.count; ++i) {
    if (processors.apic_ids[i] == own_id) continue;
    smp_starting_index = running;
    send_command(processors.apic_ids[i], 0x4500);                           // INIT, assert
    spin(tsc_khz / 5);                                                      // 200 us
    send_command(processors.apic_ids[i], 0x4600 | GUEST_TRAMPOLINE >> 12);  // SIPI
    const volatile std::uint64_t& online = published().cpus[running].online;
    const std::uint64_t start = read_tsc();
    while (online == 0) {
      if (read_tsc() - start > tsc_khz * 60'000) refuse("a vCPU of the MP table did not start, APIC id ", processors.apic_ids[i]);
      relax();
    }
    ++running;
  }
  return running;
}

}  // namespace understudy::guest
