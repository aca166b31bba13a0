// One vCPU as ring 3 sees it: its counters, waiting, its local APIC and timer.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tests/guest/asm_layout.h"

namespace understudy::guest {

// At the base of the vCPU's ring-0 stack, where the interrupt stubs find it. Ring 3 reads it.
struct CpuBlock {
  CpuBlock* self;                  // also what FS base points at
  volatile std::uint64_t wakeups;  // interrupts taken
  std::uint32_t index;
  std::uint32_t apic_id;
  std::uint64_t reserved;
  volatile std::uint64_t vector_counts[VECTOR_COUNT];
};
static_assert(offsetof(CpuBlock, self) == CPU_SELF);
static_assert(offsetof(CpuBlock, wakeups) == CPU_WAKEUPS);
static_assert(offsetof(CpuBlock, vector_counts) == CPU_VECTOR_COUNTS);
static_assert(sizeof(CpuBlock) <= 1024, "the rest of the page is stack");

// Sleeps until `counter` differs from `seen` or an interrupt comes. Read the counter, look for work, then wait: nothing is lost between.
extern "C" void guest_wait(const volatile std::uint64_t* counter, std::uint64_t seen);

inline std::uint64_t read_tsc() {
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  asm volatile("rdtsc" : "=a"(low), "=d"(high));
  return std::uint64_t{high} << 32 | low;
}
inline void relax() { asm volatile("pause" ::: "memory"); }
inline void out8(std::uint16_t port, std::uint8_t value) { asm volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory"); }
inline void out16(std::uint16_t port, std::uint16_t value) { asm volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory"); }
inline std::uint8_t in8(std::uint16_t port) {
  std::uint8_t value = 0;
  asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
  return value;
}
// Device registers: single plain moves, which any emulator of the access understands.
inline std::uint32_t mmio_read(std::uint64_t address) {
  std::uint32_t value = 0;
  asm volatile("movl (%1), %0" : "=r"(value) : "r"(address) : "memory");
  return value;
}
inline void mmio_write(std::uint64_t address, std::uint32_t value) {
  asm volatile("movl %0, (%1)" : : "r"(value), "r"(address) : "memory");
}

// The local APIC of the calling vCPU.
void enable_local_apic(CpuBlock& cpu);
// TSC frequency measured against the local APIC's timer, which KVM runs at 1 GHz. Takes 10 ms.
std::uint64_t measure_tsc_khz();
// A timer interrupt `nanoseconds` from now, at most 4 s; replaces the one before.
void arm_timer(std::uint64_t nanoseconds);

// Lets device interrupt `gsi` (0 to 23) come to vCPU `cpu` as vector VECTOR_DEVICES + gsi; edge-triggered.
void route_device_interrupt(const CpuBlock& cpu, std::uint32_t gsi);
// Silences the legacy interrupt controllers.
void mask_legacy_interrupts();

// Starts every other enabled processor of the MP table; returns how many vCPUs run now, the first one included (1: no table).
// A processor that does not come within two seconds is an error, said on serial.
std::uint32_t start_other_cpus(std::uint64_t tsc_khz);

// Ends another vCPU's wait.
void wake_cpu(const CpuBlock& cpu);

CpuBlock& cpu_block(std::uint32_t index);

}  // namespace understudy::guest
