// Where boot data lie in the guest's first MiB, and the map of memory that the guest is told (E820).
#pragma once

#include <cstdint>
#include <vector>

#include "net/base/ids.h"
#include "vmm/checkpoint_source.h"

namespace understudy::boot_map {

inline constexpr GuestPhysicalAddress kGdt{0x500};
inline constexpr GuestPhysicalAddress kPvhStartInfo{0x6000};
inline constexpr std::size_t kPvhStartInfoBytes = 0x1000;
inline constexpr GuestPhysicalAddress kZeroPage{0x7000};
inline constexpr GuestPhysicalAddress kStackTop{0x8FF0};
inline constexpr GuestPhysicalAddress kPml4{0x9000};
inline constexpr GuestPhysicalAddress kPdpt{0xA000};
inline constexpr GuestPhysicalAddress kPageDirectories{0xB000};  // four, for the first 4 GiB
inline constexpr GuestPhysicalAddress kCommandLine{0x2'0000};
inline constexpr std::size_t kMaxCommandLineBytes = 2047;  // COMMAND_LINE_SIZE on x86, less the final zero
// The last KiB of base memory, where guests look for the MP table (MultiProcessor Specification 1.4, chapter 4).
inline constexpr GuestPhysicalAddress kMpTable{0x9'FC00};
inline constexpr std::size_t kMpTableBytes = 0x400;
// Where guests look for the ACPI tables' pointer (ACPI 6.4, 5.2.5.1), which comes first of them.
inline constexpr GuestPhysicalAddress kAcpiTables{0xE'0000};
inline constexpr std::size_t kAcpiTablesBytes = 0x2'0000;
inline constexpr GuestPhysicalAddress kKernelLowest{0x10'0000};
// An initrd ends below this (Linux/x86 boot protocol, initrd_addr_max).
inline constexpr std::uint64_t kInitrdEnd = 0x8000'0000;

// In the hole, where KVM has them.
inline constexpr std::uint32_t kLapicAddress = 0xFEE0'0000;
inline constexpr std::uint32_t kIoapicAddress = 0xFEC0'0000;

enum class E820Kind : std::uint32_t { kRam = 1, kReserved = 2 };
struct E820Range {
  std::uint64_t start;
  std::uint64_t bytes;
  E820Kind kind;
  friend bool operator==(const E820Range&, const E820Range&) = default;
};

// Guest RAM with the MP table's place and the legacy ROM area, where the ACPI tables are, reserved. Ascending, without overlap. Pure.
std::vector<E820Range> e820_map(const MemoryLayout& layout);

}  // namespace understudy::boot_map
