// Tiny guests for the machine's tests, in assembly, made into ELF files that boot() takes.
//
// Each is position-independent 64-bit code entered by the boot protocol: long mode, identity mapping of 4 GiB, ring 0, interrupts off.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "net/base/ids.h"

namespace understudy::test {

inline constexpr std::uint64_t kGuestCode = 0x10'0000;
inline constexpr std::uint64_t kGuestData = 0x20'0000;  // where the guests keep what the tests look at
inline constexpr PageIndex kDataPage{kGuestData / kPageSizeBytes};

std::span<const std::byte> hello_guest();  // writes "hello\n" to the serial port and powers off
std::span<const std::byte> reset_guest();  // resets by the keyboard controller
// Counts its boots at kGuestData + 8: resets by the keyboard controller after the first, by port 0xCF9 after the
// second, and powers off after the third.
std::span<const std::byte> boot_counting_guest();
// Writes the byte at kGuestData + 8 to pvpanic's port for ever; the count of writes is at kGuestData.
std::span<const std::byte> pvpanic_guest();
std::span<const std::byte> triple_fault_guest();  // an exception with no IDT
std::span<const std::byte> jump_to_mmio_guest();  // runs from where no memory is
// Counts in RAX for ever; after each count, writes it to one of 64 pages from kGuestData on, in turn.
std::span<const std::byte> counter_guest();
// Writes a count to the serial port's scratch register and reads it back, for ever; a triple fault when they differ. The count of rounds is
// at kGuestData.
std::span<const std::byte> port_echo_guest();
// Starts the processors 1 to N-1 (N at kGuestData), each of which adds one to the word at 0x30008 and halts; powers off when all did.
std::span<const std::byte> smp_guest();
// Reads the TSC for ever: the first value at kGuestData, the latest at + 8, the greatest step between two at + 16; a triple fault when it
// went back.
std::span<const std::byte> tsc_guest();
// Sets up the LAPIC's timer, periodic, and counts its interrupts at kGuestData.
std::span<const std::byte> timer_guest();
// The same with the TSC deadline, armed again by each interrupt: one that is lost is the last.
std::span<const std::byte> deadline_timer_guest();

// 32-bit code, entered by PVH: writes the command line to the serial port and powers off; a triple fault when it finds no start info, or
// paging on.
std::span<const std::byte> pvh_guest();
// Takes the power button's presses by the SCI: two at kGuestData when it listens, one more with each press, and at four it powers off.
std::span<const std::byte> power_button_guest();

// An ELF executable with `code` at kGuestCode, entered at its start.
std::vector<std::byte> make_elf(std::span<const std::byte> code);

// A file that goes when the object goes.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::span<const std::byte> content);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace understudy::test
